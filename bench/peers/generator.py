"""Requests over a few kept connections from one thread, so cheap that the server's CPU is what is measured.

A program of its own: `python generator.py` reads a `Load` as JSON on stdin and writes `Sent` as JSON. Closed: each
connection sends the next request when it has its answer. Open: requests are due at random moments (Poisson) whatever
the server does, and latency counts from the due moment. Only the standard library.
"""

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
    answered with anything but 200; `cpu_s`: of this program while it sent; `first_failure`: in words.
    """

    done_s: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    lost: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    first_failure: str = ""


class Connection:
    """One connection: at most one request under way on it."""

    def __init__(self, load: Load) -> None:
        self._address = ("127.0.0.1", load.port)
        self.socket: socket.socket | None = None
        self.busy = False
        self.due = self.sent = 0.0
        self.retry_at = 0.0
        self._left = memoryview(b"")
        self._answer = bytearray()

    def start(self, request: bytes, due: float) -> None:
        """Connects if need be and sends as much as goes."""
        if self.socket is None:
            self.socket = socket.create_connection(self._address, timeout=LIMIT_S)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.setblocking(False)
        self.busy, self.due, self.sent = True, due, time.monotonic()
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


def run(load: Load) -> Sent:
    """Sends a load and waits for its answers."""
    requests = [_request(load, Path(body).read_bytes()) for body in load.bodies]
    sent, count = Sent(), 0
    idle = deque(Connection(load) for _ in range(load.connections))
    selector, under_way = selectors.EpollSelector(), set[Connection]()
    moments, due = random.Random(load.seed), deque[float]()
    began, cpu = time.monotonic(), time.process_time()
    end, next_due = began + load.seconds, began
    while (now := time.monotonic()) < end + LIMIT_S:
        while load.rate and next_due <= now and next_due < end:
            due.append(next_due)
            next_due += moments.expovariate(load.rate)
        while idle and now >= idle[0].retry_at and (due if load.rate else now < end):
            connection = idle.popleft()
            try:
                connection.start(requests[count % len(requests)], due.popleft() if load.rate else now)
            except OSError as error:
                _fail(sent, connection, error, now)
                idle.append(connection)
                continue
            count += 1
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
            assert connection.socket
            selector.register(connection.socket, events, connection)
            under_way.add(connection)
        if now >= end and not under_way and not due:
            break
        wait = max(0.0, min(next_due - now, RETRY_S)) if load.rate else RETRY_S
        for key, events in selector.select(wait):
            _serve(key.data, key, events, selector, sent, began)
            if not key.data.busy:
                under_way.discard(key.data)
                idle.append(key.data)
    sent.lost += len(under_way)
    sent.cpu_s, sent.wall_s = time.process_time() - cpu, min(time.monotonic(), end) - began
    return sent


def _serve(
    connection: Connection,
    key: selectors.SelectorKey,
    events: int,
    selector: selectors.BaseSelector,
    sent: Sent,
    began: float,
) -> None:
    try:
        if events & selectors.EVENT_WRITE:
            connection.send()
            if not connection.unsent:
                selector.modify(key.fileobj, selectors.EVENT_READ, connection)
        status = 0
        if events & selectors.EVENT_READ:
            # Before it may be closed in there.
            status = connection.receive() if connection.socket else 0
        if connection.busy:
            return
    except OSError as error:
        selector.unregister(key.fileobj)
        _fail(sent, connection, error, time.monotonic())
        return
    with_socket = connection.socket is not None
    selector.unregister(key.fileobj) if with_socket else _forget(selector, key)
    now = time.monotonic()
    if status != 200:
        _fail(sent, connection, RuntimeError(f"answered {status}"), now)
        return
    sent.done_s.append(now - began)
    sent.latency_ms.append((now - connection.due) * 1000)


def _forget(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    """Unregisters a socket that is closed: its number is known by the key alone."""
    selector.unregister(key.fd)


def _fail(sent: Sent, connection: Connection, error: Exception, now: float) -> None:
    sent.lost += 1
    sent.first_failure = sent.first_failure or str(error)
    connection.close()
    connection.retry_at = now + RETRY_S


def _request(load: Load, body: bytes) -> bytes:
    kind = "application/json" if body.startswith(b"{") else "image/jpeg"
    head = f"POST {load.path} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


if __name__ == "__main__":
    json.dump(asdict(run(Load(**json.load(sys.stdin)))), sys.stdout)
