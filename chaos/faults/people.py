"""What clients do to a fleet, and its operator."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from chaos.faults.stage import Stage
from chaos.rehearsal import ChaosError
from chaos.siege.attack import attacked
from chaos.siege.watch import exceeded, watched

CLIENTS = 200
# Not the cameras' own, as one address may hold 256 connections.
SLOW_ADDRESS, HASTY_ADDRESS = "127.0.0.3", "127.0.0.4"
ATTACK_S, AFTERWARDS_S, ATTACK_SEED = 20, 5, 1
RESET = struct.pack("ii", 1, 0)  # closing a socket with this SO_LINGER sends RST


def slow_clients(stage: Stage, *, body: bool) -> Iterator[None]:
    """200 clients of another address that send a byte of their header, or of their body, every second."""
    start = b"POST /v1/detect HTTP/1.1\r\nHost: x\r\n"
    start += b"Content-Length: 100000\r\n\r\n" if body else b"X-Slow: "
    with _clients(stage.fleet.port, start, SLOW_ADDRESS) as connections:
        for _ in range(10):
            for connection in connections:
                connection.sendall(b"x")
            time.sleep(1)
        yield


def hang_ups(stage: Stage) -> Iterator[None]:
    """200 clients of another address break off in the middle of a body, and 200 after it, before their answer."""
    body = stage.poison[:64] + bytes(2000)
    start = b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    for part in (body[:1000], body):
        with _clients(stage.fleet.port, start + part, HASTY_ADDRESS):
            pass
    yield


def hostile_neighbour(stage: Stage) -> Iterator[None]:
    """64 clients of another address send all that is cheap to send and dear to answer."""
    with watched(stage.fleet.var) as readings:
        with attacked(stage.fleet.port, ATTACK_SEED):
            time.sleep(ATTACK_S)
        # What was sent by those who have left is given up, not answered.
        time.sleep(AFTERWARDS_S)
    if problems := exceeded(readings):
        raise ChaosError("; ".join(problems))
    yield


def reload(stage: Stage) -> Iterator[None]:
    """An nginx that reloads twice: an instance is added and taken away again by `python -m deploy up`."""
    stage.fleet.up(stage.fleet.count + 1)
    yield
    stage.fleet.up()


def broken_config(stage: Stage) -> Iterator[None]:
    """A template renders what nginx does not accept; `up` has to refuse it and change nothing."""
    template = stage.fleet.code / "deploy" / "nginx" / "snippets" / "proxy.conf.j2"
    good = template.read_text()
    before = (stage.fleet.var / "etc" / "fleet.json").stat().st_ino
    template.write_text(good + "\nno_such_directive on;\n")
    try:
        said = stage.fleet.up(stage.fleet.count + 1, ok=False)
    finally:
        template.write_text(good)
    if "no_such_directive" not in said or (stage.fleet.var / "etc" / "fleet.json").stat().st_ino != before:
        raise ChaosError(f"the broken configuration was not refused: {said[-200:]}")
    yield


@contextmanager
def _clients(port: int, start: bytes, source: str) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), source_address=(source, 0)))
            for _ in range(CLIENTS)
        ]
        for connection in connections:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.sendall(start)
        yield connections


slow_headers = partial(slow_clients, body=False)
slow_bodies = partial(slow_clients, body=True)
