"""How the foreign protocols' routes fail in the OpenAPI document: our problems, in each protocol's own words."""

from dataclasses import dataclass

from service.openapi.headers import headers
from service.openapi.problems import ANYWHERE, METHOD_NOT_ALLOWED, Problem, known_problems, problem_answers
from service.openapi.shapes import Json, ref
from service.problems import Dialect

NOT_FOUND = 404
# Where the server gives up on a request before it has read its path, no protocol is known yet.
BEFORE_THE_PATH = (414, 431)


@dataclass(frozen=True, slots=True)
class Failures:
    """A protocol's failures: the `schema` they are of by name, and the `dialect` that the routes write them with."""

    schema: str
    dialect: Dialect

    def anywhere(self) -> Json:
        """What any route of the protocol may answer."""
        return self._answers({status: [] for status in ANYWHERE}, of_detection=False)

    def of_detection(self, missing: str = "") -> Json:
        """What a route with a picture in its body may answer.

        Args:
            missing: why it may be a 404; empty where it can't.
        """
        statuses = {problem.status for problem in known_problems() if problem.of_detection} | set(ANYWHERE)
        answers = self._answers({status: [] for status in statuses}, of_detection=True)
        if missing:
            answers[str(NOT_FOUND)] = self._answer([Problem(NOT_FOUND, "not_found", "Not Found", missing)])
        return dict(sorted(answers.items()))

    def _answers(self, kinds: dict[int, list[Problem]], *, of_detection: bool) -> Json:
        for problem in known_problems():
            if problem.status in kinds and (of_detection or not problem.of_detection):
                kinds[problem.status].append(problem)
        return {
            str(status): {"$ref": f"#/components/responses/AnyProblem{status}"}
            if status in BEFORE_THE_PATH
            else self._answer(found)
            for status, found in sorted(kinds.items())
        }

    def _answer(self, kinds: list[Problem]) -> Json:
        status = kinds[0].status
        extra = ["Retry-After"] if any(kind.retry for kind in kinds) else []
        extra += ["Allow"] if status == METHOD_NOT_ALLOWED else []
        # A request that is no HTTP is refused before its path is known, too.
        as_problem = problem_answers()["AnyProblem400"]["content"] if status == ANYWHERE[0] else {}
        body = {"schema": ref(self.schema), "example": self.dialect(kinds[0].example())}
        return {
            "description": " ".join(kind.why for kind in kinds),
            "headers": headers(*extra),
            "content": {"application/json": body, **as_problem},
        }


def shell(label: str, source: str) -> Json:
    """A call to copy into a shell."""
    return {"lang": "Shell", "label": label, "source": source}


def python(source: str) -> Json:
    """A call to copy into a Python program."""
    return {"lang": "Python", "label": "Python", "source": source}


def answered(description: str, schema: str, example: object, *more: str) -> Json:
    """An answer of JSON, with the headers named."""
    body = {"schema": ref(schema), "example": example}
    return {"description": description, "headers": headers(*more), "content": {"application/json": body}}
