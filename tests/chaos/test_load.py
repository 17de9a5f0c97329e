"""The load counts what a client would: no answer is taken for right that is not, and no request is sent twice."""

import json
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import msgspec
import pytest

from chaos.load import ALIKE, Load, Picture, Sender, attempt, make_pictures, read_boxes
from framefleet.wire.answers import Detections, ModelName, PictureSize, Timings
from framefleet.wire.same import same

BOX = {"label": "face", "class_id": 0, "score": 0.9, "box": [1.0, 2.0, 3.0, 4.0]}


def answer(*boxes: dict[str, object], **more: object) -> bytes:
    """A whole answer, as `/v1/detect` gives it."""
    around = Detections((), PictureSize(8, 8), Timings(1, 1, 1, 1), ModelName("m", (8, 8)), "1")
    return json.dumps({**msgspec.to_builtins(around), "detections": boxes, **more}).encode()


class Server(ThreadingHTTPServer):
    """Answers as a test says; counts connections and requests."""

    daemon_threads = True
    status, retry_after, boxes, drop = 200, "", [BOX], False
    connections = requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests += 1
        if self.server.drop:
            self.close_connection = True
            return
        body = answer(*self.server.boxes, code="a_code")
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        if self.server.retry_after:
            self.send_header("Retry-After", self.server.retry_after)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()


@pytest.fixture
def picture(server: Server) -> Picture:
    return make_pictures(server.url, [b"jpeg"])[0]


@pytest.fixture
def sender(server: Server) -> Iterator[Sender]:
    made = Sender(server.url)
    yield made
    made.close()


def test_answers_are_told_apart(server: Server, picture: Picture, sender: Sender) -> None:
    assert attempt(sender, picture) == ("right", "")
    server.boxes = [{**BOX, "box": [1.0, 2.0, 3.0, 40.0]}]
    assert attempt(sender, picture) == ("wrong", "another answer")
    server.status = 500
    assert attempt(sender, picture) == ("failed", "500 a_code")
    server.status = 503
    assert attempt(sender, picture) == ("failed", "503 a_code")
    server.retry_after = "1"
    assert attempt(sender, picture) == ("refused", "503")


def test_a_request_without_an_answer_has_failed_and_is_not_sent_again(
    server: Server, picture: Picture, sender: Sender
) -> None:
    server.drop, before = True, server.requests
    outcome, detail = attempt(sender, picture)
    assert (outcome, detail) == ("failed", "RemoteDisconnected")
    assert server.requests == before + 1


def test_a_connection_is_kept_unless_it_is_for_one_request(server: Server, picture: Picture, sender: Sender) -> None:
    before = server.connections
    for _ in range(3):
        attempt(sender, picture)
    assert server.connections == before + 1
    attempt(sender, picture, one_shot=True)
    assert server.connections == before + 2


def test_a_connection_that_was_closed_while_idle_is_opened_anew() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = Sender(f"http://127.0.0.1:{listener.getsockname()[1]}")

        def answer_twice() -> None:
            for _ in range(2):
                with listener.accept()[0] as connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")

        thread = Thread(target=answer_twice)
        thread.start()
        statuses = [sender.send(b"")[0]]
        kept = sender._kept
        assert kept and kept.sock
        assert kept.sock.recv(1, socket.MSG_PEEK) == b""  # returns once the server has closed
        statuses.append(sender.send(b"")[0])
        thread.join(30)
        sender.close()
    assert statuses == [204, 204]


def test_every_request_that_was_due_is_accounted_for(server: Server, picture: Picture) -> None:
    load = Load(server.url, [picture], rate=50)
    with load.running():
        begin = time.monotonic()
        samples = load.between(begin, begin + 1)
    # One may be due just before, or just after.
    assert len(samples) in (49, 50, 51)
    assert {sample.outcome for sample in samples} == {"right"}


def test_boxes_may_differ_by_rounding_only() -> None:
    found = read_boxes(answer(BOX))
    near = read_boxes(answer({**BOX, "score": 0.91, "box": [1.5, 2, 3, 4]}))
    far = read_boxes(answer({**BOX, "score": 0.95}))
    assert (same(found, near, ALIKE), same(found, far, ALIKE), same(found, (), ALIKE)) == (True, False, False)


def test_what_is_no_answer_equals_none() -> None:
    assert not same(read_boxes(b"<html>"), (), ALIKE)
