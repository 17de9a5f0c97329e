"""Every error leaves the service as a problem document (RFC 9457), whoever raised it, or as its protocol says it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec
from flask import Flask, Response, current_app, g, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from framefleet.wire.answers import Problem
from service.errors import BodyTooLarge, MalformedBody, RequestError, ServiceError, forget
from service.log import log_event

CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    414: "uri_too_long",
    431: "headers_too_large",
}
UNAUTHORIZED = 401
OTHER_CODE = "http_error"
OURS = "an error of ours; the log has the reason under this request id"
# Makes the JSON object that a protocol's clients expect of a problem document.
Dialect = Callable[[Problem], object]
NO_DIALECTS: Mapping[str, Dialect] = MappingProxyType({})


def answer_problems(app: Flask, dialects: Mapping[str, Dialect] = NO_DIALECTS) -> None:
    """Registers the handlers that turn exceptions into problem documents.

    Args:
        app: the application.
        dialects: by path, whatever is below it included, how a protocol says it otherwise.
    """
    app.extensions["problem_dialects"] = dialects

    @app.errorhandler(ServiceError)
    def service_error(error: ServiceError) -> Response:
        forget(error)
        return _response(problem_document(error), retry_after_s=error.retry_after_s)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        forget(error)
        if isinstance(error, RequestEntityTooLarge):
            limit = app.config["MAX_CONTENT_LENGTH"]
            return service_error(BodyTooLarge(f"body: over the limit of {limit} bytes; send a smaller picture"))
        status = error.code or 500
        title = error.name or "Error"
        answer = _response(_document(status, CODES.get(status, OTHER_CODE), title, error.description or title))
        for name, value in error.get_headers():
            if name in ("Allow", "Location", "Retry-After"):
                answer.headers[name] = value
        return answer

    @app.errorhandler(ParseException)
    def broken_transfer(error: ParseException) -> Response:
        forget(error)
        return service_error(MalformedBody(f"body: its transfer breaks off or is no chunked encoding ({error})"))

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        app.logger.error("unexpected error in request %s", g.get("request_id", ""), exc_info=error)
        forget(error)
        return _response(_document(500, ServiceError.code, ServiceError.title, OURS))


def problem_document(error: ServiceError) -> Problem:
    """Makes the document of one error; an error of ours is logged in full here and described plainly in it."""
    detail = str(error)
    if not isinstance(error, RequestError) and error.status == 500:  # noqa: PLR2004 - ours, not the client's
        log_event("inference_failed", request_id=g.get("request_id", ""), detail=detail)
        detail = "the model could not process this picture; the log has the reason under this request id"
    return _document(error.status, error.code, error.title, detail)


def make_problem(status: int, code: str, title: str, detail: str, request_id: str) -> Problem:
    """Makes a problem document."""
    return Problem("about:blank", title, status, code, detail, request_id)


def _document(status: int, code: str, title: str, detail: str) -> Problem:
    return make_problem(status, code, title, detail, g.get("request_id", ""))


def _response(document: Problem, *, retry_after_s: int | None = None) -> Response:
    g.problem = document
    dialect = _dialect(request.path)
    body = msgspec.json.encode(dialect(document) if dialect else document)
    content_type = "application/json" if dialect else "application/problem+json"
    answer = Response(body, status=document.status, content_type=content_type)
    if answer.status_code == UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = "Bearer"
    if retry_after_s is not None:
        answer.headers["Retry-After"] = str(retry_after_s)
    return answer


def _dialect(path: str) -> Dialect | None:
    dialects: Mapping[str, Dialect] = current_app.extensions["problem_dialects"]
    return next((said for prefix, said in dialects.items() if path == prefix or path.startswith(f"{prefix}/")), None)
