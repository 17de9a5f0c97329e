"""A stand-in HTTP service for answers that a real instance cannot be made to give on cue."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NOTHING_FOUND = json.dumps({"detections": []}).encode()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; status 0 breaks the connection instead."""

    status: int = 200
    body: bytes = NOTHING_FOUND
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Stub:
    """What the service answers and has received.

    `replies`: given in turn, the last one for ever; `gate`: requests after the first `ungated` wait until it is open;
    `bodies`, `paths`: of the requests so far; `connections`, `clients`: client ports and addresses seen;
    `authorizations`: headers of that name.
    """

    url: str = ""
    replies: list[Reply] = field(default_factory=lambda: [Reply()])
    gate: threading.Event = field(default_factory=threading.Event)
    ungated: int = 1_000_000
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)
    clients: set[str] = field(default_factory=set)
    authorizations: set[str] = field(default_factory=set)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait_for_requests(self, count: int) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.bodies) >= count, timeout=30), f"{len(self.bodies)} arrived"

    def take(self, path: str, body: bytes, client: str, port: int) -> Reply:
        with self.arrived:
            self.paths.append(path)
            self.bodies.append(body)
            self.connections.add(port)
            self.clients.add(client)
            self.arrived.notify_all()
            number = len(self.bodies)
            reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if number > self.ungated:
            assert self.gate.wait(30), "the test never opened the gate"
        return reply


@contextmanager
def running_stub(*replies: Reply, tls: ssl.SSLContext | None = None) -> Iterator[Stub]:
    stub = Stub(replies=list(replies) or [Reply()])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            stub.authorizations.add(self.headers.get("Authorization", ""))
            reply = stub.take(self.path, body, *self.client_address)
            if reply.status == 0:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    stub.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    try:
        yield stub
    finally:
        stub.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
