"""What every protocol's routes do the same way: read a request's body and deadline, and write JSON."""

import msgspec
from flask import Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from service.form import Form, read_form
from service.query import read_timeout_ms
from service.settings import Settings


def read_body() -> bytes:
    """The body as it came; never through the form parser: curl and urllib claim form types for plain files.

    Raises:
        RequestEntityTooLarge: it has more bytes than the instance takes.
    """
    body = request.get_data(cache=False, parse_form_data=False)
    # One that is sent in chunks is cut off at the limit without a word; what is left of it tells.
    if len(body) == request.max_content_length and request.content_length is None and request.input_stream.read(1):
        raise RequestEntityTooLarge
    return body


def read_upload_form(max_files: int) -> Form:
    """The pictures of a request, and the texts beside them; see `read_form` for `max_files` and what it raises.

    Raises:
        RequestEntityTooLarge: the body has more bytes than the instance takes.
    """
    return read_form(read_body(), request.headers.get("Content-Type", ""), max_files)


def read_deadline_ms(settings: Settings) -> float:
    """Milliseconds until nobody wants the answer: `X-Timeout-Ms`, at most the instance's own deadline.

    Raises:
        InvalidValue: the header is no number within its limits.
    """
    return read_timeout_ms(request.headers.get("X-Timeout-Ms"), settings.deadline_ms)


def json_answer(document: object) -> Response:
    """Writes an answer as JSON."""
    return Response(msgspec.json.encode(document), content_type="application/json")
