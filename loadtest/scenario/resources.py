"""Watches memory and descriptors of the instances under load: `/metrics` -> [Reading...] -> growth."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from loadtest.errors import TargetError
from loadtest.scenario.repeat import repeated
from loadtest.target import Reply, Target

EVERY_S = 2.0
TIMEOUT_S = 10.0
MEBIBYTE = 2**20
# Of each instance: fewer say nothing about growth.
FEWEST = 8
_METRIC = re.compile(r"^(process_resident_memory_bytes|process_open_fds) ([0-9.e+]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one instance said of itself.

    Attributes:
        instance: its name.
        memory_mib: resident memory.
        descriptors: open files and sockets.
    """

    instance: str
    memory_mib: float
    descriptors: float


@dataclass(frozen=True, slots=True)
class Growth:
    """From the second quarter of the readings (the first is a warm-up) to the last one, of the worst instance.

    Attributes:
        memory_mib: resident memory; NaN without enough readings.
        descriptors: open files and sockets; NaN likewise.
    """

    memory_mib: float
    descriptors: float


def read(reply: Reply) -> Reading | None:
    """Takes a `/metrics` answer apart; none if it lacks the two."""
    found = dict(_METRIC.findall(reply.body.decode("utf-8", "replace")))
    if len(found) < 2:  # noqa: PLR2004 - the two of the pattern
        return None
    memory, descriptors = found["process_resident_memory_bytes"], found["process_open_fds"]
    return Reading(reply.instance, float(memory) / MEBIBYTE, float(descriptors))


def growth(readings: Sequence[Reading]) -> Growth:
    """The greatest growth of any instance."""
    series: dict[str, list[Reading]] = defaultdict(list)
    for one in readings:
        series[one.instance].append(one)
    known = [found for found in series.values() if len(found) >= FEWEST]
    return Growth(
        memory_mib=max((_grown([one.memory_mib for one in found]) for found in known), default=math.nan),
        descriptors=max((_grown([one.descriptors for one in found]) for found in known), default=math.nan),
    )


@contextmanager
def watched(url: str, every_s: float = EVERY_S) -> Iterator[Callable[[], list[Reading]]]:
    """Reads `/metrics` for as long as the block lasts, each time from whichever instance answers."""
    readings: list[Reading] = []

    def watch() -> None:
        reading = _ask(url)
        if reading is not None:
            readings.append(reading)

    with repeated(watch, every_s):
        yield lambda: list(readings)


def _ask(url: str) -> Reading | None:
    try:
        # A connection of its own each time, so that a balancer asks every instance now and then.
        with Target(url, TIMEOUT_S) as target:
            return read(target.get("/metrics"))
    except TargetError:
        return None


def _grown(values: Sequence[float]) -> float:
    quarter = len(values) // 4
    return median(values[-quarter:]) - median(values[quarter : 2 * quarter])
