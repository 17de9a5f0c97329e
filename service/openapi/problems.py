"""Problem answers, read off the tree of errors that the service raises."""

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from itertools import groupby
from operator import attrgetter

from framefleet.wire import answers
from service.errors import RequestError, ServiceError
from service.openapi.headers import EXAMPLE_REQUEST_ID, headers
from service.openapi.shapes import Json, ref, schemas_of
from service.problems import CODES, OTHER_CODE, OURS, make_problem

METHOD_NOT_ALLOWED = 405
# What any route may answer, whatever it is for: the first four before the route has a say.
ANYWHERE = (400, METHOD_NOT_ALLOWED, 414, 431, 500)
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
    statuses = {problem.status for problem in known_problems() if problem.of_detection} | set(ANYWHERE)
    return {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted(statuses)}


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


def _by_status(known: Iterable[Problem]) -> list[tuple[int, list[Problem]]]:
    return [(status, list(kinds)) for status, kinds in groupby(known, key=attrgetter("status"))]


def _answer(kinds: list[Problem]) -> Json:
    status = kinds[0].status
    extra = ["Retry-After"] if any(kind.retry for kind in kinds) else []
    extra += ["Allow"] if status == METHOD_NOT_ALLOWED else []
    exactly = {
        "properties": {
            "status": {"type": "integer", "enum": [status]},
            "code": {"type": "string", "enum": [kind.code for kind in kinds]},
        }
    }
    return {
        "description": " ".join(f"`{kind.code}`: {kind.why}" for kind in kinds),
        "headers": headers(*extra),
        "content": {
            "application/problem+json": {
                "schema": {"allOf": [ref("Problem"), exactly]},
                "examples": {kind.code: {"value": kind.example()} for kind in kinds},
            }
        },
    }


def _why(error: type[ServiceError]) -> str:
    return (inspect.getdoc(error) or error.title).splitlines()[0]


def _below(error: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for kind in error.__subclasses__():
        yield kind
        yield from _below(kind)
