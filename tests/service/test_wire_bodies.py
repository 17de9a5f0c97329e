"""However bodies come over a connection, whole or not, one behind the other or in pieces: the answers stay the same.

One instance receives them itself, into memory that it lends, the other one has gunicorn and Werkzeug read them.
"""

import gzip
import random
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import cv2
import numpy as np
import pytest

from tests.instance import RunningInstance, running_instance
from tests.service.admission.test_reused_memory import form, raw_frame, tensor

CONNECTIONS, CLIENTS = 80, 4
SEED = 20_261_201
LIMIT_S = 30
CLOSE = "Connection: close"
# What differs from one answer to the next.
_VARIES = re.compile(
    rb'"(?:request_id|requestId|instance)":"[^"]*"|"\w+M[sS]":\d+|"timings_ms":\{[^}]*\}|(?m:^(?:Date|Content-Length|Server-Timing|X-Request-I[dD]):.*$)',
)


@pytest.fixture(scope="module")
def instances(
    free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[RunningInstance]]:
    folder = tmp_path_factory.mktemp("wire")
    limits = {"deadline_ms": 60_000, "max_body_bytes": 8_000_000}
    with (
        running_instance(free_port(), "-", folder / "1", "tests.service.workers.PoisonedWorker", **limits) as lending,
        running_instance(free_port(), "-", folder / "2", "tests.service.workers.CopyingWorker", **limits) as copying,
    ):
        yield [lending, copying]


def bodies(dice: random.Random) -> dict[str, bytes]:
    """Of all kinds, smaller and larger than what memory is lent for."""
    found = {}
    for width, height in ((60, 40), (320, 240), (800, 450)):
        grain = np.frombuffer(dice.randbytes(24 * 24 * 3), np.uint8).reshape(24, 24, 3)
        pixels = cv2.resize(grain, (width, height))
        jpeg, png = (bytes(cv2.imencode(suffix, pixels)[1]) for suffix in (".jpg", ".png"))
        texts = {"jpeg": jpeg, "png": png, "raw": raw_frame(pixels), "escaped": raw_frame(pixels, "\\/")}
        found |= {f"{kind} {width}": text for kind, text in {**texts, "form": form(jpeg)}.items()}
    return {**found, "nothing": b"", "blanks": b" " * 200_000, "noise": dice.randbytes(200_000)}


def request(dice: random.Random, body: bytes, *more: str, longer: int = 0) -> bytes:
    """One request, which may say that its body is longer than it is."""
    path, lines = dice.choice(("/v1/detect", "/predict", "/v1/vision/detection")), ["Host: a", *more]
    if dice.random() < 0.2 and body:
        body, headers = tensor("BYTES", [1], len(body).to_bytes(4, "little") + body)
        path, lines = "/v2/models/detect/infer", lines + [f"{name}: {value}" for name, value in headers.items()]
        if dice.random() < 0.3:
            body, lines = gzip.compress(body, 1), [*lines, "Content-Encoding: gzip"]
    if dice.random() < 0.1:
        lines.append("Expect: 100-continue")
    if dice.random() < 0.1 and not longer:
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        lines, body = [*lines, "Transfer-Encoding: chunked"], chunk + b"0\r\n\r\n"
    else:
        lines.append(f"Content-Length: {len(body) + longer}")
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode() + body


def connection(dice: random.Random, texts: Sequence[bytes]) -> list[bytes]:
    """What comes over one connection, in the pieces that it comes in."""
    if dice.random() < 0.3:  # one that breaks off
        stream = request(dice, dice.choice(texts), longer=dice.choice((1, 1000, 10**6)))
        stream = stream[: dice.choice((len(stream), dice.randrange(len(stream))))]
    else:
        before = [request(dice, dice.choice(texts)) for _ in range(dice.randrange(3))]
        stream = b"".join([*before, request(dice, dice.choice(texts), CLOSE)])
    cuts = sorted(dice.randrange(len(stream) + 1) for _ in range(dice.choice((0, 1, 3, 20))))
    return [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def answers(instance: RunningInstance, pieces: Sequence[bytes]) -> bytes:
    """All that comes back over the connection, without what varies."""
    port = int(instance.url.rpartition(":")[2])
    found = bytearray()
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as end, suppress(ConnectionError):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):  # an answer may have come, and the rest of the request is not wanted
            for piece in pieces:
                end.sendall(piece)
            if CLOSE.encode() not in b"".join(pieces):  # else the server closes it
                end.shutdown(socket.SHUT_WR)
        while data := end.recv(2**16):
            found += data
    return _VARIES.sub(b"", bytes(found))


def test_both_ways_to_read_bodies_give_the_same_answers(instances: list[RunningInstance]) -> None:
    dice = random.Random(SEED)
    texts = list(bodies(dice).values())
    connections = [connection(dice, texts) for _ in range(CONNECTIONS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        lending, copying = ([pool.submit(answers, each, pieces) for pieces in connections] for each in instances)
        for one, other, pieces in zip(lending, copying, connections, strict=True):
            assert one.result() == other.result(), [piece[:200] for piece in pieces]
    assert not [each.log.read_text() for each in instances if "Traceback" in each.log.read_text()]
