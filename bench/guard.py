"""Holds what a request costs: `python -m bench.guard`, `make bench-guard`.

CPU time per request of one instance over that of `bench.bare_server`, which does the bare work in the same language and
through the same system calls: over decoding alone the ratio rises by half when neighbours fill the caches. Both are
asked in turn, a few requests each, all on one core. The ratios of medians are held against `bench/guard.json`.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("bench.guard")


import argparse
import base64
import http.client
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import numpy.typing as npt

from bench.bare_server import INPUT_SIDE
from bench.instance import Running, running, started
from bench.peers.processes import tree
from framefleet.machine.ports import reserved_ports

KEPT = Path(__file__).with_name("guard.json")
VIDEO = Path("var/video/bigbuckbunny.mp4")
WORSE = 0.10  # more is a failure
STARTS = 3  # one start of a process is up to 5 % dearer than another, for as long as it lives
ROUNDS_S = 4.0  # with each
# It answers at once, so that a request's way through the instance is what costs.
MODEL = f"simulated:a_ms=0,b_ms=0,size={INPUT_SIDE}"


@dataclass(frozen=True, slots=True)
class CostCase:
    """One kind of request: its name in `guard.json`, path, body, and how many are sent in a row."""

    name: str
    path: str
    body: bytes
    in_a_row: int


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU seconds per request of each round: of the instance, and of the bare server."""

    instance_s: list[float] = field(default_factory=list)
    bare_s: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return statistics.median(self.instance_s) / statistics.median(self.bare_s)


def cases(picture: npt.NDArray[np.uint8]) -> Iterator[CostCase]:
    """The requests that are guarded.

    Args:
        picture: what is sent, uint8 [height, width, 3]; scaled to each size.
    """
    for (width, height), in_a_row in (((64, 64), 4), ((640, 480), 2), ((1920, 1080), 1)):
        scaled = cv2.resize(picture, (width, height))
        body = cv2.imencode(".jpg", scaled, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        yield CostCase(f"jpeg_{width}x{height}", "/v1/detect", body, in_a_row)
    text = base64.b64encode(cv2.resize(picture, (640, 480)).tobytes()).decode()
    yield CostCase(
        "first_protocol_640x480", "/predict", json.dumps({"height": 480, "width": 640, "image": text}).encode(), 2
    )


def worse(ratios: Mapping[str, float], kept: Mapping[str, float]) -> list[str]:
    """A line for each ratio that is over its kept one by more than a tenth, or has none."""
    lines = []
    for name, ratio in ratios.items():
        if name not in kept:
            lines.append(f"{name}: nothing is kept for it")
        elif ratio > kept[name] * (1 + WORSE):
            lines.append(f"{name}: {ratio:.2f}, {ratio / kept[name] - 1:.0%} over the kept {kept[name]:.2f}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints and compares; 1 where a ratio is worse, twice in a row."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description=__doc__)
    parser.add_argument("--update", action="store_true", help=f"keep the ratios of now in bench/{KEPT.name}")
    options = parser.parse_args(arguments)
    ratios = measured()
    if options.update:
        KEPT.write_text(json.dumps({name: round(ratio, 2) for name, ratio in ratios.items()}, indent=2) + "\n")
        return 0
    kept = json.loads(KEPT.read_text())
    if worse(ratios, kept):
        print("once more:")
        again = measured()
        ratios = {name: min(ratio, again[name]) for name, ratio in ratios.items()}
    lines = worse(ratios, kept)
    for line in lines:
        print(f"guard: {line}; see CONTRIBUTING.md", file=sys.stderr)
    return 1 if lines else 0


def measured() -> dict[str, float]:
    """Each case's CPU time per request over that of the bare server; prints them."""
    asked = list(cases(_picture()))
    costs = {case.name: Costs() for case in asked}
    with _on_one_core():
        for _ in range(STARTS):
            with running(model=MODEL) as instance, _bare_server() as bare:
                _ask_in_turn(asked, costs, instance, bare)
    for name, cost in costs.items():
        instance_ms, bare_ms = (statistics.median(part) * 1000 for part in (cost.instance_s, cost.bare_s))
        print(f"{name:<24} {cost.ratio:5.2f}   ({instance_ms:.2f} / {bare_ms:.2f} ms)", flush=True)
    return {name: cost.ratio for name, cost in costs.items()}


def _ask_in_turn(asked: Sequence[CostCase], costs: Mapping[str, Costs], instance: Running, bare: Running) -> None:
    with _Server(instance) as of_instance, _Server(bare) as of_bare:
        for case in asked:  # what is had at the first time only
            of_instance.cost_s(case)
            of_bare.cost_s(case)
        end = time.monotonic() + ROUNDS_S
        while time.monotonic() < end:
            for case in asked:
                costs[case.name].instance_s.append(of_instance.cost_s(case))
                costs[case.name].bare_s.append(of_bare.cost_s(case))


class _Server:
    """One connection to a server, and the CPU time of all its processes."""

    def __init__(self, server: Running) -> None:
        self._processes = [process.pid for process in tree(server.pid)]
        self._connection = http.client.HTTPConnection(str(urlsplit(server.url).hostname), urlsplit(server.url).port)

    def cost_s(self, case: CostCase) -> float:
        """CPU seconds per request of one round of a case."""
        began = self._cpu_s()
        for _ in range(case.in_a_row):
            self._connection.request("POST", case.path, case.body)
            answer = self._connection.getresponse()
            answer.read()
            if answer.status != http.client.OK:
                raise SystemExit(f"{case.name}: answered {answer.status}")
        return (self._cpu_s() - began) / case.in_a_row

    def _cpu_s(self) -> float:
        # A process's own clock, as of clock_getcpuclockid(3), counts ns; /proc counts steps of 10 ms.
        return sum(time.clock_gettime((~process << 3) | 2) for process in self._processes)

    def __enter__(self) -> "_Server":
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()


@contextmanager
def _bare_server() -> Iterator[Running]:
    with reserved_ports() as port:
        command = [sys.executable, "-m", "bench.bare_server", str(port)]
        with started(command, f"http://127.0.0.1:{port}") as server:
            yield server


@contextmanager
def _on_one_core() -> Iterator[None]:
    """Clients and servers on one core: they take turns anyway, and none is moved about."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _picture() -> npt.NDArray[np.uint8]:
    video = cv2.VideoCapture(str(VIDEO))
    read, frame = video.read()
    video.release()
    if not read:
        raise SystemExit(f"{VIDEO}: no frame in it; run `make setup`")
    return frame  # type: ignore[return-value]
