"""Problem answers, read off the tree of errors that the service raises.

`Failures`: the same for the foreign protocols, in each one's own words.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import groupby
from operator import attrgetter

from framefleet.wire import answers
from service.errors import RequestError, ServiceError
from service.openapi.headers import EXAMPLE_REQUEST_ID, headers
from service.openapi.shapes import Json, ref, schemas_of
from service.problems import CODES, OTHER_CODE, OURS, Dialect, make_problem

NOT_FOUND, METHOD_NOT_ALLOWED = 404, 405
# What any route may answer, whatever it is for: the first four before the route has a say.
ANYWHERE = (400, METHOD_NOT_ALLOWED, 414, 431, 500)
# Where the server gives up on a request before it has read its path, no protocol is known yet.
BEFORE_THE_PATH = (414, 431)
# Why problems are answered that no class of ours stands for.
WHY = {
    404: "There is no such path.",
    405: "The path does not take this method; `Allow` says which it takes.",
    414: "The path and query are longer than the server reads.",
    431: "The headers are longer, or more, than the server reads.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of problem.

    Its HTTP `status`, its `code` word and `title`, `why` it is answered, whether a picture must have been sent for it
    (`of_detection`), and whether the answer says when to `retry`.
    """

    status: int
    code: str
    title: str
    why: str
    of_detection: bool = False
    retry: bool = False

    def example(self) -> answers.Problem:
        """The problem as it is answered."""
        return make_problem(self.status, self.code, self.title, self.why, EXAMPLE_REQUEST_ID)


def known_problems() -> tuple[Problem, ...]:
    """Every problem that has a code of its own, by status."""
    raised = [
        Problem(
            status=error.status,
            code=error.code,
            title=error.title,
            why=_why(error),
            of_detection=error is not RequestError,
            retry=error.retry_after_s is not None,
        )
        for error in _below(ServiceError)
        if "code" in vars(error)  # the others end the process and are never answered
    ]
    codes = {problem.code for problem in raised}
    by_http = [
        Problem(status, code, HTTPStatus(status).phrase, WHY[status])
        for status, code in CODES.items()
        if code not in codes
    ]
    ours = Problem(ServiceError.status, ServiceError.code, ServiceError.title, OURS.capitalize() + ".")
    return tuple(sorted([*raised, *by_http, ours], key=lambda problem: problem.status))


def detection_problems() -> Json:
    """Refers to every problem that a route with a picture in its body may answer."""
    return {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in _detection_statuses()}


def any_problems() -> Json:
    """Refers to the problems that any route may answer."""
    return {str(status): {"$ref": f"#/components/responses/AnyProblem{status}"} for status in ANYWHERE}


def known_codes() -> list[str]:
    """The code words that a problem may have."""
    return [*(problem.code for problem in known_problems()), OTHER_CODE]


def problem_schemas() -> Json:
    """The document that every problem is answered with."""
    return schemas_of(answers.Problem, limits={"Problem.code": {"enum": known_codes()}})


def problem_answers() -> Json:
    """One answer for each status with the codes it may carry: where a picture was sent, and on any route."""
    known = known_problems()
    anywhere = [problem for problem in known if not problem.of_detection]
    return {
        **{f"Problem{status}": _answer(kinds) for status, kinds in _by_status(known)},
        **{f"AnyProblem{status}": _answer(kinds) for status, kinds in _by_status(anywhere) if status in ANYWHERE},
    }


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
        failures = self._answers({status: [] for status in _detection_statuses()}, of_detection=True)
        if missing:
            failures[str(NOT_FOUND)] = self._answer([Problem(NOT_FOUND, "not_found", "Not Found", missing)])
        return dict(sorted(failures.items()))

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
        # A request that is no HTTP is refused before its path is known, too.
        as_problem = problem_answers()["AnyProblem400"]["content"] if status == ANYWHERE[0] else {}
        body = {"schema": ref(self.schema), "example": self.dialect(kinds[0].example())}
        return {
            "description": " ".join(kind.why for kind in kinds),
            "headers": _headers(kinds),
            "content": {"application/json": body, **as_problem},
        }


def _by_status(known: Iterable[Problem]) -> list[tuple[int, list[Problem]]]:
    return [(status, list(kinds)) for status, kinds in groupby(known, key=attrgetter("status"))]


def _answer(kinds: list[Problem]) -> Json:
    status = kinds[0].status
    exactly = {
        "properties": {
            "status": {"type": "integer", "enum": [status]},
            "code": {"type": "string", "enum": [kind.code for kind in kinds]},
        }
    }
    return {
        "description": " ".join(f"`{kind.code}`: {kind.why}" for kind in kinds),
        "headers": _headers(kinds),
        "content": {
            "application/problem+json": {
                "schema": {"allOf": [ref("Problem"), exactly]},
                "examples": {kind.code: {"value": kind.example()} for kind in kinds},
            }
        },
    }


def _detection_statuses() -> list[int]:
    return sorted({problem.status for problem in known_problems() if problem.of_detection} | set(ANYWHERE))


def _headers(kinds: Sequence[Problem]) -> Json:
    extra = ["Retry-After"] if any(kind.retry for kind in kinds) else []
    return headers(*extra, *(["Allow"] if kinds[0].status == METHOD_NOT_ALLOWED else []))


def _why(error: type[ServiceError]) -> str:
    return (inspect.getdoc(error) or error.title).splitlines()[0]


def _below(error: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for kind in error.__subclasses__():
        yield kind
        yield from _below(kind)
