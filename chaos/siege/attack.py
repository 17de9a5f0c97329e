"""A hostile neighbour: `python -m chaos.siege.attack` sends what `bombs` makes, from another address than the cameras.

It is a process of its own, so that it does not hold up the cameras' clients, and a nice one: a real attacker's CPU time
would not be the fleet's. It attacks until its stdin ends, then prints how its requests ended.

Flow: bombs -> [Assault...] -> clients -> how they ended, as counts.

`png`, `progressive_jpeg`: bodies within every limit that are cheap to send and dear to answer; nothing is sent here.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("chaos.siege.attack")


import argparse
import base64
import gzip
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np

from chaos.rehearsal import REPO

# 40 megapixels, the limit on pixels; of one colour they take some 100 kB.
WIDTH, HEIGHT = 8000, 5000
CHANNELS = 3
# The colour type of a PNG with three channels.
PNG_RGB = 2
FILES = 16
FULL_HD = (1080, 1920)
# Just under the limit on a body, once it is unpacked.
UNPACKED_BYTES = 60 * 2**20
BOUNDARY = "bomb"
# Cameras come from 127.0.0.1; all of 127.0.0.0/8 is this machine's.
SOURCE = "127.0.0.2"
CLIENTS = 64
NICENESS = 10
PAUSE_S = 0.2
PATIENCE_S, HANG_UP_S, TRICKLE_S = 30.0, 0.3, 20.0
# Of a slow body, sent a byte each second.
TRICKLED = 20


@dataclass(frozen=True, slots=True)
class Assault:
    """One kind of hostile request.

    Attributes:
        name: for people.
        request: head and body.
        patience_s: s until its client hangs up.
        trickled: so many bytes of its end are sent one a second.
    """

    name: str
    request: bytes
    patience_s: float = PATIENCE_S
    trickled: int = 0


def assaults() -> tuple[Assault, ...]:
    """Makes every kind; takes a second or two."""
    dark, deep, scans = png(8), png(16), progressive_jpeg()
    mixed = form((dark, deep, scans))
    as_form = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
    return (
        Assault("40-megapixel PNG, 8 bits", _request("/v1/detect", dark)),
        Assault("40-megapixel PNG, 16 bits", _request("/v1/detect", deep)),
        Assault("40-megapixel progressive JPEG", _request("/v1/detect", scans)),
        Assault("form of 16 PNGs", _request("/v1/detect", form((dark,)), as_form)),
        Assault("form of 16 PNGs, 1 s", _request("/v1/detect", form((deep,)), as_form, "X-Timeout-Ms: 1000")),
        Assault("form of 16, mixed", _request("/v1/detect", mixed, as_form)),
        Assault("40-megapixel PNG, annotated", _request("/v1/detect", dark, "Accept: image/jpeg")),
        Assault("form of 16, hung up", _request("/v1/detect", mixed, as_form), HANG_UP_S),
        Assault("PNG, hung up", _request("/v1/detect", deep), HANG_UP_S),
        Assault("form of 16, slow body", _request("/v1/detect", mixed, as_form), TRICKLE_S, TRICKLED),
        Assault("raw 1080p JSON", _request("/predict", raw_frame(), "Content-Type: application/json")),
        Assault(
            "packed OIP request",
            _request("/v2/models/detect/infer", packed_outputs(), "Content-Encoding: gzip"),
        ),
    )


def _request(path: str, body: bytes, *headers: str) -> bytes:
    head = (f"POST {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join((*head, "", "")).encode() + body


def perform(assault: Assault, port: int) -> str:
    """Sends one hostile request; returns the answer's status, or `hung up`, `no answer`."""
    end = time.monotonic() + assault.patience_s
    at_once = len(assault.request) - assault.trickled
    try:
        with socket.create_connection(("127.0.0.1", port), assault.patience_s, (SOURCE, 0)) as connection:
            connection.sendall(assault.request[:at_once])
            for byte in assault.request[at_once:]:
                time.sleep(1)
                connection.sendall(bytes([byte]))
            connection.settimeout(max(0.01, end - time.monotonic()))
            answer = connection.recv(64).split()
    except TimeoutError:
        return "hung up"
    except OSError:
        return "no answer"
    return answer[1].decode() if len(answer) > 1 else "no answer"


@contextmanager
def attacked(port: int, seed: int, clients: int = CLIENTS) -> Iterator[Counter[str]]:
    """Attacks a fleet as long as the block lasts.

    Args:
        port: of its balancer.
        seed: of the order.
        clients: how many attack at once.

    Yields:
        How the hostile requests ended; filled when the block ends.
    """
    ended: Counter[str] = Counter()
    command = (sys.executable, "-m", "chaos.siege.attack", f"--port={port}", f"--seed={seed}", f"--clients={clients}")
    with subprocess.Popen(command, cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        try:
            process.stdout.readline()
            yield ended
        finally:
            process.stdin.close()
            ended.update(json.loads(process.stdout.readline() or "{}"))


def main(arguments: Sequence[str]) -> int:
    """Attacks until stdin ends; returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m chaos.siege.attack", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, required=True, help="of the balancer on this machine")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="at once (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the order (default %(default)s)")
    options = parser.parse_args(arguments)
    os.nice(NICENESS)
    kinds, ended = assaults(), Counter[str]()

    def attack(number: int) -> None:
        order = random.Random(options.seed * 1000 + number)
        while True:
            ended[perform(order.choice(kinds), options.port)] += 1
            # Whoever is refused at once would otherwise take the machine for sending alone.
            time.sleep(PAUSE_S)

    for number in range(options.clients):
        threading.Thread(target=attack, args=(number,), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    print(json.dumps(ended.copy()), flush=True)
    return 0


def png(bits: int) -> bytes:
    """A PNG of 40 megapixels in one colour.

    Args:
        bits: 8 or 16 a channel; decoded it takes 120 or 240 MB.
    """
    packer = zlib.compressobj(9)
    row = bytes(1 + WIDTH * CHANNELS * bits // 8)
    packed = b"".join(packer.compress(row) for _ in range(HEIGHT)) + packer.flush()
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, PNG_RGB, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def progressive_jpeg() -> bytes:
    """A JPEG of 40 megapixels in ten scans, all of which are held until the last is read."""
    flat = np.full((HEIGHT, WIDTH, CHANNELS), 127, np.uint8)
    return cv2.imencode(".jpg", flat, (cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_OPTIMIZE, 1))[1].tobytes()


def form(pictures: Sequence[bytes]) -> bytes:
    """A form of as many files as are taken, the pictures in turn; its boundary is `BOUNDARY`."""
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="file%d"; filename="%d"\r\n\r\n%b\r\n'
        % (BOUNDARY.encode(), number, number, pictures[number % len(pictures)])
        for number in range(FILES)
    ]
    return b"".join(parts) + b"--%b--\r\n" % BOUNDARY.encode()


def raw_frame() -> bytes:
    """A frame of 1080p as the first protocol's JSON, 8 MB."""
    height, width = FULL_HD
    image = base64.b64encode(bytes(height * width * CHANNELS)).decode()
    return json.dumps({"height": height, "width": width, "image": image}).encode()


def packed_outputs() -> bytes:
    """A request of the Open Inference Protocol that asks for an output millions of times, packed by gzip."""
    head = b'{"inputs":[{"name":"image","shape":[1],"datatype":"BYTES","data":["x"]}],"outputs":['
    output = b'{"name":"count"},'
    return gzip.compress(head + output * (UNPACKED_BYTES // len(output)) + output[:-1] + b"]}")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
