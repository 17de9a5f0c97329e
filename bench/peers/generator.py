"""Requests over a few kept connections from one thread, so cheap that the server's CPU is what is measured.

A program of its own: `python generator.py` reads a `Load` as JSON on stdin and writes `Sent` as JSON. Closed: each
connection sends the next request when it has its answer. Open: requests are due at random moments (Poisson) whatever
the server does, and latency counts from the due moment. Only the standard library.
"""

import http.client
import json
import random
import selectors
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

LIMIT_S = 30
# A connection that was refused is tried again: a server that starts anew refuses for a while.
RETRY_S = 0.02
CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent.

    Files of `bodies` in turn by POST to `path` of `port` on this machine, on `connections` connections for `seconds` s;
    `rate` requests a second at random moments, or 0 for a closed loop. `seed` makes the moments.
    """

    port: int
    path: str
    bodies: list[str]
    connections: int
    seconds: float
    rate: float = 0.0
    seed: int = 1


@dataclass(slots=True)
class Sent:
    """What came of it.

    `done_s`: s from the start to each good answer; `latency_ms`: of the same ones; `lost`: requests that failed or were
    answered with anything but 200, each counted once however often it was tried again; `cpu_s`: of this program while
    it sent; `first_failure`: in words.
    """

    done_s: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    lost: int = 0
    cpu_s: float = 0.0
    first_failure: str = ""


class Connection:
    """One connection: at most one request under way on it."""

    def __init__(self, load: Load) -> None:
        self._address = ("127.0.0.1", load.port)
        self.socket: socket.socket | None = None
        self.busy = self.failing = False
        self.due = self.retry_at = 0.0
        self._left = memoryview(b"")
        self._answer = bytearray()

    def start(self, request: bytes, due: float) -> None:
        """Connects if need be and sends as much as goes."""
        if self.socket is None:
            self.socket = socket.create_connection(self._address, timeout=LIMIT_S)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.setblocking(False)
        self.busy, self.due = True, due
        self._left, self._answer = memoryview(request), bytearray()
        self.send()

    @property
    def unsent(self) -> bool:
        """True while part of the request is still to be sent."""
        return bool(self._left)

    def send(self) -> None:
        """Sends as much as goes."""
        assert self.socket
        try:
            while self._left:
                self._left = self._left[self.socket.send(self._left[:CHUNK]) :]
        except BlockingIOError:
            pass

    def receive(self) -> int:
        """Takes what has come; returns the status of the whole answer, or 0 while it is not whole.

        Raises:
            ConnectionError: the server hung up in the middle.
        """
        assert self.socket
        try:
            data = self.socket.recv(CHUNK)
        except BlockingIOError:
            return 0
        self._answer += data
        head, separator, body = bytes(self._answer).partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        if not data and not separator:
            raise ConnectionError("hung up without an answer")
        if not separator or not (not data or _is_whole(lines, body)):
            return 0
        if not data or b"connection: close" in lines or lines[0].startswith(b"http/1.0"):
            self.close()
        self.busy = False
        return int(lines[0].split()[1])

    def close(self) -> None:
        """Drops the connection."""
        if self.socket:
            self.socket.close()
        self.socket, self.busy = None, False


def _is_whole(lines: list[bytes], body: bytes) -> bool:
    for line in lines:
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
        if line.startswith(b"transfer-encoding:") and b"chunked" in line:
            return body.endswith(b"0\r\n\r\n")
    return False  # until the server closes


class Loop:
    """Sends one load and waits for its answers; `sent` is what came of it."""

    def __init__(self, load: Load) -> None:
        self.sent = Sent()
        self._load, self._count = load, 0
        self._requests = [_request(load, Path(body).read_bytes()) for body in load.bodies]
        self._idle = deque(Connection(load) for _ in range(load.connections))
        self._under_way: set[Connection] = set()
        self._selector = selectors.EpollSelector()
        self._moments, self._due = random.Random(load.seed), deque[float]()
        self._began = self._next_due = time.monotonic()
        self._end = self._began + load.seconds

    def run(self) -> Sent:
        """Until the time is over and every answer is there, or has been waited for long enough."""
        cpu = time.process_time()
        while (now := time.monotonic()) < self._end + LIMIT_S:
            self._fall_due(now)
            while self._idle and now >= self._idle[0].retry_at and (self._due if self._load.rate else now < self._end):
                self._start(self._idle.popleft(), now)
            if now >= self._end and not self._under_way and not self._due:
                break
            wait = max(0.0, min(self._next_due - now, RETRY_S)) if self._load.rate else RETRY_S
            for key, events in self._selector.select(wait):
                self._serve(key.data, events)
        self.sent.lost += len(self._under_way) + len(self._due)
        self.sent.cpu_s = time.process_time() - cpu
        self._selector.close()
        for connection in (*self._idle, *self._under_way):
            connection.close()
        return self.sent

    def _fall_due(self, now: float) -> None:
        while self._load.rate and self._next_due <= now and self._next_due < self._end:
            self._due.append(self._next_due)
            self._next_due += self._moments.expovariate(self._load.rate)

    def _start(self, connection: Connection, now: float) -> None:
        due = self._due.popleft() if self._load.rate else now
        try:
            connection.start(self._requests[self._count % len(self._requests)], due)
        except OSError as error:
            self._fail(connection, error)
            return
        self._count += 1
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        assert connection.socket
        self._selector.register(connection.socket, events, connection)
        self._under_way.add(connection)

    def _serve(self, connection: Connection, events: int) -> None:
        asked, status = connection.socket, 0
        assert asked
        try:
            if events & selectors.EVENT_WRITE:
                connection.send()
                if not connection.unsent:
                    self._selector.modify(asked, selectors.EVENT_READ, connection)
            if events & selectors.EVENT_READ:
                status = connection.receive()
        except OSError as error:
            self._done(connection, asked)
            self._fail(connection, error)
            return
        if connection.busy:
            return
        self._done(connection, asked)
        if status != http.client.OK:
            self._fail(connection, RuntimeError(f"answered {status}"))
            return
        now, connection.failing = time.monotonic(), False
        self.sent.done_s.append(now - self._began)
        self.sent.latency_ms.append((now - connection.due) * 1000)
        self._idle.append(connection)

    def _done(self, connection: Connection, asked: socket.socket) -> None:
        self._selector.unregister(asked)
        self._under_way.discard(connection)

    def _fail(self, connection: Connection, error: Exception) -> None:
        # What is tried again while the server is away is one request.
        self.sent.lost += not connection.failing
        connection.failing = True
        self.sent.first_failure = self.sent.first_failure or str(error)
        connection.close()
        connection.retry_at = time.monotonic() + RETRY_S
        self._idle.append(connection)


def _request(load: Load, body: bytes) -> bytes:
    kind = "application/json" if body.startswith(b"{") else "image/jpeg"
    head = f"POST {load.path} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


if __name__ == "__main__":
    json.dump(asdict(Loop(Load(**json.load(sys.stdin))).run()), sys.stdout)
