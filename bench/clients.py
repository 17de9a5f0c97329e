"""Clients in processes of their own, each with several connections that always have one request under way."""

import http.client
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from urllib.parse import urlsplit

CONNECTIONS_PER_PROCESS = 8


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients do: post `body` to `url` on `connections` connections for `seconds` s."""

    url: str
    body: bytes
    connections: int
    seconds: float


def latencies_ms(load: Load) -> list[float]:
    """Runs the clients.

    Returns:
        Milliseconds of every answer.

    Raises:
        RuntimeError: an answer was no 200.
    """
    whole, rest = divmod(load.connections, CONNECTIONS_PER_PROCESS)
    shares = [CONNECTIONS_PER_PROCESS] * whole + [rest] * bool(rest)
    with ProcessPoolExecutor(len(shares), mp_context=get_context("spawn")) as pool:
        parts = pool.map(_process, [Load(load.url, load.body, share, load.seconds) for share in shares])
        return [ms for part in parts for ms in part]


def _process(load: Load) -> list[float]:
    with ThreadPoolExecutor(load.connections) as pool:
        parts = pool.map(_connection, [load] * load.connections)
        return [ms for part in parts for ms in part]


def _connection(load: Load) -> list[float]:
    address = urlsplit(load.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
    taken, end = list[float](), time.monotonic() + load.seconds
    while not taken or time.monotonic() < end:
        began = time.monotonic()
        connection.request("POST", address.path, load.body)
        answer = connection.getresponse()
        answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(f"{load.url}: answered {answer.status}")
        taken.append((time.monotonic() - began) * 1000)
    connection.close()
    return taken
