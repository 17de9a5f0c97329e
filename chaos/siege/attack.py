"""A hostile neighbour: `python -m chaos.siege.attack` sends what `bombs` makes, from another address than the cameras.

It is a process of its own, so that it does not hold up the cameras' clients, and a nice one: a real attacker's CPU time
would not be the fleet's. It attacks until its stdin ends, then prints how its requests ended.

Flow: bombs -> [Assault...] -> clients -> how they ended, as counts.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("chaos.siege.attack")


import argparse
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from chaos.rehearsal import REPO
from chaos.siege import bombs

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
    dark, deep, scans = bombs.png(8), bombs.png(16), bombs.progressive_jpeg()
    mixed = bombs.form((dark, deep, scans))
    as_form = f"Content-Type: multipart/form-data; boundary={bombs.BOUNDARY}"
    return (
        Assault("40-megapixel PNG, 8 bits", _request("/v1/detect", dark)),
        Assault("40-megapixel PNG, 16 bits", _request("/v1/detect", deep)),
        Assault("40-megapixel progressive JPEG", _request("/v1/detect", scans)),
        Assault("form of 16 PNGs", _request("/v1/detect", bombs.form((dark,)), as_form)),
        Assault("form of 16 PNGs, 1 s", _request("/v1/detect", bombs.form((deep,)), as_form, "X-Timeout-Ms: 1000")),
        Assault("form of 16, mixed", _request("/v1/detect", mixed, as_form)),
        Assault("40-megapixel PNG, annotated", _request("/v1/detect", dark, "Accept: image/jpeg")),
        Assault("form of 16, hung up", _request("/v1/detect", mixed, as_form), HANG_UP_S),
        Assault("PNG, hung up", _request("/v1/detect", deep), HANG_UP_S),
        Assault("form of 16, slow body", _request("/v1/detect", mixed, as_form), TRICKLE_S, TRICKLED),
        Assault("raw 1080p JSON", _request("/predict", bombs.raw_frame(), "Content-Type: application/json")),
        Assault(
            "packed OIP request",
            _request("/v2/models/detect/infer", bombs.packed_outputs(), "Content-Encoding: gzip"),
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
