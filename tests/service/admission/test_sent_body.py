"""Bodies are received from gunicorn's socket straight into their memory, and nothing else of a connection is."""

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import SimpleNamespace

import pytest
from flask import Flask
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from werkzeug.exceptions import ClientDisconnected

from service.admission.buffers import LEAST_BYTES
from service.admission.client_gone import never_gone
from service.admission.visit import Visit, make_pools
from service.protocols.exchange import SentBody, read_body, sent_body
from service.settings import Settings

LIMIT_S = 60
LENGTHS = (1, 100, 8000, 8192, 70_000, 3_000_000)


def head(length: int, *more: str) -> bytes:
    lines = ("POST /v1/detect HTTP/1.1", "Host: a", f"Content-Length: {length}", *more, "", "")
    return "\r\n".join(lines).encode()


@contextmanager
def sending(*pieces: bytes) -> Iterator[RequestParser]:
    """gunicorn's parser of a connection on which somebody sends that, and closes it."""
    client, server = socket.socketpair()

    def send() -> None:
        with client:
            for piece in pieces:
                client.sendall(piece)

    thread = threading.Thread(target=send)
    thread.start()
    with server:
        yield RequestParser(Config(), server, ("127.0.0.1", 1))
    thread.join(LIMIT_S)


def received(body: SentBody, length: int, *, into: bool) -> bytes:
    return bytes(body.receive_into(memoryview(bytearray(length)))) if into else body.receive()


def found(request: object) -> SentBody:
    """The request's body, which has to be one that is received here: this pins the gunicorn that is locked."""
    body = sent_body({"wsgi.input": request.body})  # type: ignore[attr-defined]
    assert body is not None
    return body


@pytest.mark.parametrize("into", [True, False])
@pytest.mark.parametrize("length", LENGTHS)
def test_a_body_is_received_whole_and_the_next_request_is_left(length: int, into: bool) -> None:
    bodies = [bytes([number]) * length for number in range(3)]
    pieces = [head(length) + bodies[0] + head(length)[:20], head(length)[20:], bodies[1], head(length) + bodies[2]]
    with sending(*pieces) as parser:
        for body in bodies:
            request = next(parser)
            assert received(found(request), length, into=into) == body
            assert (request.body.reader.length, request.body.read()) == (0, b"")


@pytest.mark.parametrize("into", [True, False])
@pytest.mark.parametrize("sent", [0, 1, 8000, 69_999])
def test_of_a_client_that_hangs_up_there_is_what_it_sent(sent: int, into: bool) -> None:
    with sending(head(70_000), b"x" * sent) as parser:
        assert received(found(next(parser)), 70_000, into=into) == b"x" * sent


@pytest.mark.parametrize("into", [True, False])
def test_a_connection_that_breaks_is_no_body(into: bool) -> None:
    with sending(head(70_000) + b"x") as parser:
        body = found(next(parser))
        body.connection.close()
        with pytest.raises(ClientDisconnected):
            received(body, 70_000, into=into)


def test_a_body_in_many_small_pieces_is_received_whole() -> None:
    with sending(head(70_000), *[b"%07d" % number for number in range(10_000)]) as parser:
        memory = memoryview(bytearray(70_000))
        assert found(next(parser)).receive_into(memory) == b"".join(b"%07d" % number for number in range(10_000))


def test_chunks_and_what_was_read_already_are_not_received_here() -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    with sending(chunked) as parser:
        request = next(parser)
        assert sent_body({"wsgi.input": request.body}) is None
        assert request.body.read() == b"abc"
    with sending(head(9) + b"abc\ndefgh") as parser:
        request = next(parser)
        request.body.readline()
        assert sent_body({"wsgi.input": request.body}) is None
        assert request.body.read() == b"defgh"


class EncryptedSocket(socket.socket):
    """One whose plain bytes are not what is sent."""


@pytest.mark.parametrize(
    "stream",
    [
        io.BytesIO(b"x"),
        SimpleNamespace(buf=io.BytesIO(), reader=SimpleNamespace(length=3, unreader=SimpleNamespace(sock=None))),
        # As in gunicorn 24 to 26.
        SimpleNamespace(
            buf=io.BytesIO(),
            reader=SimpleNamespace(length=3, unreader=SimpleNamespace(sock=socket.socket(), unread=print, read=print)),
        ),
        SimpleNamespace(
            buf=io.BytesIO(),
            reader=SimpleNamespace(
                length=3, unreader=SimpleNamespace(sock=EncryptedSocket(), unread=print, take_buffered=print)
            ),
        ),
    ],
    ids=["another server", "no socket", "an older gunicorn", "encrypted"],
)
def test_what_is_not_known_is_left_alone(stream: object) -> None:
    assert sent_body({"wsgi.input": stream}) is None
    connection = getattr(getattr(getattr(stream, "reader", None), "unreader", None), "sock", None)
    if connection:
        connection.close()


@pytest.mark.parametrize("length", [0, 1, LEAST_BYTES - 1, LEAST_BYTES, 3_000_000])
def test_routes_get_their_bodies_this_way(length: int) -> None:
    body = bytes(number % 251 for number in range(length))
    pools = make_pools(Settings())
    app = Flask("tested")
    app.config["MAX_CONTENT_LENGTH"] = 2 * length
    with sending(head(length) + body) as parser, closing(Visit(pools, "", 1, float("inf"), never_gone)) as visit:
        sent = next(parser).body
        environ = {"wsgi.input": sent, "wsgi.input_terminated": True, "CONTENT_LENGTH": str(length)}
        with app.test_request_context("/", method="POST", environ_overrides=environ):
            found = read_body(visit)
        assert (found, type(found)) == (body, memoryview if length >= LEAST_BYTES else bytes)
        assert (sent.reader.length, pools.bodies.ledger.held) == (0, length)
    assert pools.bodies.ledger.held == 0
    assert (pools.buffers.held > 0) == (length >= LEAST_BYTES)
