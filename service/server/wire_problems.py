"""What gunicorn answers to a request that never reaches the application: it is no HTTP, or its head is too long.

gunicorn's own pages are HTML without a request id; clients of this service read problem documents and nothing else.
And its words quote the request, of which a damaged head may be a key, and a misplaced body a picture: that is cut off.
"""

import html
import logging
import re
import socket
import uuid
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from service.problems import CODES, OTHER_CODE, OURS, make_problem

QUOTE = re.compile(r"""['"]""")
REFUSAL = "Invalid request from "
PAGE = re.compile(r"HTTP/1\.1 (?P<status>\d+) (?P<reason>[^\r]*)\r\n.*</h1>\s*(?P<message>.*?)\s*</body>", re.DOTALL)


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


class WireProblem:
    """A connection on which gunicorn's page about a request leaves as a problem document; all else as it is.

    Args:
        connection: the client's.
        instance: the instance's name.
        limits: what gunicorn takes.
    """

    def __init__(self, connection: socket.socket, instance: str, limits: HeadLimits) -> None:
        self._connection, self._instance, self._limits = connection, instance, limits

    def sendall(self, page: bytes) -> None:
        """Sends the problem that a page of `gunicorn.util.write_error` tells of."""
        if shown := PAGE.match(page.decode("latin-1")):
            status, message = int(shown["status"]), html.unescape(shown["message"])
            page = _answer(self._instance, status, shown["reason"], self._limits.detail(status, message))
        self._connection.sendall(page)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


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
