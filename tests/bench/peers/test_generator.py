"""The generator understands every way in which servers end an answer, and counts what is lost."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.peers.generator import Load, Loop, Sent


class Closing(BaseHTTPRequestHandler):
    """HTTP/1.0 without a length: the end of the connection is the end of the answer."""

    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.answer()

    def answer(self) -> None:
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: object) -> None:
        pass


class Kept(Closing):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.send_header("Content-Length", "2")
        super().answer()


class Chunked(Kept):
    def answer(self) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"2\r\n[]\r\n0\r\n\r\n")


class Failing(Kept):
    status = 500


@contextmanager
def served(handler: type[Closing]) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def sent(port: int, folder: Path, rate: float = 0.0) -> Sent:
    body = folder / "body"
    body.write_bytes(b"\xff\xd8" * 500_000)
    return Loop(Load(port, "/predict", [str(body)], connections=2, seconds=0.3, rate=rate)).run()


@pytest.mark.parametrize("handler", [Closing, Kept, Chunked])
@pytest.mark.parametrize("rate", [0.0, 40.0], ids=["closed", "open"])
def test_whole_answers_are_counted(handler: type[Closing], rate: float, tmp_path: Path) -> None:
    with served(handler) as port:
        found = sent(port, tmp_path, rate)
    assert (found.lost, found.first_failure) == (0, "")
    assert len(found.done_s) == len(found.latency_ms) > 1


def test_what_fails_again_and_again_is_lost_once_a_client(tmp_path: Path) -> None:
    with served(Failing) as port:
        found = sent(port, tmp_path)
    assert (found.done_s, found.lost, found.first_failure) == ([], 2, "answered 500")


def test_nobody_there_is_lost_too(tmp_path: Path) -> None:
    with served(Kept) as port:
        pass
    assert sent(port, tmp_path).lost == 2
