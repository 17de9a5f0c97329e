"""Requests that are no HTTP, or too long, never reach the application; they are answered as problems all the same."""

import json
import socket
from collections.abc import Callable, Iterator
from email.parser import BytesHeaderParser
from pathlib import Path

import pytest

from tests.instance import RunningInstance, running_instance
from tests.service.documented import Document

HOST = b"Host: here\r\n"
CHUNKED = b"POST /v1/detect HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def instance(
    free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningInstance, Path]]:
    log = tmp_path_factory.mktemp("instance") / "log"
    with running_instance(free_port(), "simulated:a_ms=0,b_ms=0", log) as running:
        yield running, log


def send(instance: RunningInstance, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Sends bytes as they are; the instance closes the connection after an answer to what is no HTTP."""
    with socket.create_connection(("127.0.0.1", int(instance.url.rpartition(":")[2])), 10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    line, _, headers = head.partition(b"\r\n")
    return int(line.split()[1]), dict(BytesHeaderParser().parsebytes(headers).items()), body


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"GET /livez?" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "uri_too_long"),
        (b"GET /livez HTTP/1.1\r\n" + HOST + b"A: " + b"a" * 9000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET /livez HTTP/1.1\r\n" + HOST + b"A: a\r\n" * 200 + b"\r\n", 431, "headers_too_large"),
        (b"G(T /livez HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
        (b"GET /livez HTTP/1.1\r\nHo st: here\r\n\r\n", 400, "bad_request"),
        (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
        (b"POST /predict HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400, "bad_request"),
        (CHUNKED + b"zz\r\nabc\r\n", 400, "malformed_body"),
        (CHUNKED + b"3\r\nabcdef\r\n0\r\n\r\n", 400, "malformed_body"),
        (CHUNKED + b"3\r\nab", 400, "bad_request"),
    ],
    ids=[
        "long address",
        "long header",
        "many headers",
        "method",
        "header name",
        "bytes in the address",
        "length",
        "chunk size",
        "chunk end",
        "chunk cut off",
    ],
)
def test_what_is_no_http_is_answered_as_a_documented_problem(
    instance: tuple[RunningInstance, Path], request_bytes: bytes, status: int, code: str
) -> None:
    running, log = instance
    document = Document(json.loads(send(running, b"GET /openapi.json HTTP/1.0\r\n\r\n")[2]))
    answer = send(running, request_bytes)
    assert (answer[0], json.loads(answer[2])["code"]) == (status, code)
    assert (answer[1]["X-Instance"], len(answer[1]["X-Request-ID"])) == ("tested", 32)
    document.check("post", "/v1/detect", *answer)
    assert send(running, b"GET /livez HTTP/1.0\r\n\r\n")[0] == 200
    assert "Traceback" not in log.read_text()
