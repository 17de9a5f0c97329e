"""Headers and body leave in one write; what has no body, or no known length, leaves as it is."""

from collections.abc import Iterable
from typing import Any

import pytest

from service.app import WholeAnswer


class Response:
    """The part of gunicorn's response that writes: headers first, then each piece of the body."""

    def __init__(self) -> None:
        self.sock = self
        self.writes: list[bytes] = []
        self.headers = b""

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        self.headers = status.encode()

    def sendall(self, data: bytes) -> None:
        self.writes.append(data)

    def answer(self, body: Iterable[bytes]) -> None:
        self.sock.sendall(self.headers)
        for piece in body:
            self.sock.sendall(piece)


@pytest.mark.parametrize(
    ("method", "headers", "pieces", "writes"),
    [
        ("POST", [("Content-Length", "4")], [b"body"], [b"200body"]),
        ("POST", [("content-length", "4")], [b"bo", b"dy"], [b"200bo", b"dy"]),
        ("HEAD", [("Content-Length", "4")], [], [b"200"]),
        ("GET", [("Content-Length", "0")], [], [b"200"]),
        ("GET", [], [b"streamed"], [b"200", b"streamed"]),
    ],
    ids=["one piece", "two pieces", "HEAD", "empty", "unknown length"],
)
def test_writes(method: str, headers: list[tuple[str, str]], pieces: list[bytes], writes: list[bytes]) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200", headers)
        return pieces

    response = Response()
    response.answer(WholeAnswer(application)({"REQUEST_METHOD": method}, response.start_response))
    assert response.writes == writes


def test_other_servers_are_left_alone() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200", [("Content-Length", "4")])
        return [b"body"]

    answered = WholeAnswer(application)({"REQUEST_METHOD": "GET"}, lambda *arguments: None)
    assert list(answered) == [b"body"]
