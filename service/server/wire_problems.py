"""What gunicorn answers to a request that never reaches the application: it is no HTTP, or its head is too long.

gunicorn's own pages are HTML without a request id; clients of this service read problem documents and nothing else.
And its words quote the request, of which a damaged head may be a key, and a misplaced body a picture: that is cut off.
"""

import logging
import re
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import msgspec
from gunicorn import util

from service.problems import CODES, OTHER_CODE, OURS, make_problem

QUOTE = re.compile(r"""['"]""")
REFUSAL = "Invalid request from "
WriteError = Callable[[socket.socket, int, str, str], None]


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """How long a request's head may be: `line` and `field` in bytes, and how many `fields`."""

    line: int
    fields: int
    field: int

    def detail(self, status: int, message: str) -> str:
        """What gunicorn says, in words that name the limit where the head is over one."""
        match status:
            case HTTPStatus.REQUEST_URI_TOO_LONG:
                return f"request: its first line is over {self.line} bytes; send fewer query parameters"
            case HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                return (
                    f"headers: over {self.fields} of them, or one over {self.field} bytes; send fewer or shorter ones"
                )
        return message


def problem_writer(instance: str, limits: HeadLimits) -> WriteError:
    """Makes the replacement for `gunicorn.util.write_error`.

    Args:
        instance: the instance's name.
        limits: what gunicorn takes.
    """

    def write(connection: socket.socket, status: int, reason: str, message: str) -> None:
        util.write_nonblock(connection, _answer(instance, status, reason, limits.detail(status, message)))

    return write


def unquoted(message: str) -> str:
    """What gunicorn says, up to where it quotes the request."""
    return QUOTE.split(message, maxsplit=1)[0].rstrip(" :")


class Unquoted(logging.Filter):
    """Keeps what gunicorn quotes of a request it refuses out of its log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shortens such a line; every line is logged."""
        if (message := record.getMessage()).startswith(REFUSAL):
            record.msg, record.args = unquoted(message), ()
        return True


def _answer(instance: str, status: int, reason: str, message: str) -> bytes:
    request_id = uuid.uuid4().hex
    detail = unquoted(message) if message and status < HTTPStatus.INTERNAL_SERVER_ERROR else OURS
    body = msgspec.json.encode(make_problem(status, CODES.get(status, OTHER_CODE), reason, detail, request_id))
    head = [
        f"HTTP/1.1 {status} {reason}",
        "Connection: close",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        f"X-Request-ID: {request_id}",
        f"X-Instance: {instance}",
    ]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body
