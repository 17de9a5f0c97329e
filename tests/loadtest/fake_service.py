"""A tiny HTTP service whose answers a test decides, for what a real instance cannot be made to do."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FACE: dict[str, Any] = {"label": "face", "class_id": 0, "score": 0.9184, "box": [60.0, 50.0, 106.0, 111.0]}


@dataclass(frozen=True)
class Scripted:
    """One reply: status (0 hangs up without one), body, the instance it claims to be from."""

    status: int = 200
    body: bytes = b""
    instance: str = "fake0"
    headers: Mapping[str, str] = field(default_factory=dict)


def answer(*detections: Mapping[str, Any], width: int = 176, height: int = 144) -> bytes:
    """A body of `POST /v1/detect` in the promised form."""
    document = {
        "detections": list(detections),
        "image": {"width": width, "height": height},
        "model": {"name": "fake", "input": [320, 320]},
        "timings_ms": {"decode": 0.5, "queue": 0.1, "infer": 2.0, "post": 0.2},
        "request_id": "fake",
    }
    return json.dumps(document).encode()


RIGHT = Scripted(body=answer(FACE))
Script = Callable[[int], Scripted]


class FakeService(ThreadingHTTPServer):
    """Answers the n-th `POST` (from 0) with `script(n)`, every `GET` with 200 and `document`; over TLS if told to."""

    daemon_threads = True

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._scheme = "https" if tls else "http"
        if tls:
            # The handshake is the handler's, or one client that is slow with it would keep all others out.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self._script = script
        self._lock = threading.Lock()
        self.posts = self.gets = 0
        self.document = b"{}"

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that breaks off, as one does that does not trust a certificate, is no news."""

    def next_reply(self) -> Scripted:
        with self._lock:
            number, self.posts = self.posts, self.posts + 1
        return self._script(number)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write per reply: head and body apart would wait for each other's acknowledgement.
    wbufsize = 1 << 16
    server: FakeService

    def do_GET(self) -> None:
        self.server.gets += 1
        self._reply(Scripted(body=self.server.document))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        reply = self.server.next_reply()
        if reply.status == 0:
            self.close_connection = True
        else:
            self._reply(reply)

    def _reply(self, reply: Scripted) -> None:
        self.send_response(reply.status)
        self.send_header("X-Instance", reply.instance)
        self.send_header(
            "Server-Timing", 'decode;dur=0.5, queue;dur=0.1, infer;dur=2.0;desc="batch of 1", post;dur=0.2'
        )
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps requests off the test's output."""


@contextmanager
def fake_service(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[FakeService]:
    """A fake service that listens for as long as the block lasts."""
    service = FakeService(script, tls)
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield service
    finally:
        service.shutdown()
        thread.join()
        service.server_close()
