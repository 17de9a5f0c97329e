"""Watches memory and descriptors of the instances under load: `/metrics` -> [Reading...] -> growth."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from framefleet.repeat import repeated
from loadtest.errors import TargetError
from loadtest.target.target import Reply, Target

EVERY_S = 2.0
TIMEOUT_S = 10.0
MEBIBYTE = 2**20
# Of each instance: fewer say nothing about growth.
FEWEST = 8
_MEMORY, _DESCRIPTORS, _START = "process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"
_METRIC = re.compile(rf"^({_MEMORY}|{_DESCRIPTORS}|{_START}) ([0-9.e+]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one instance said of itself.

    Attributes:
        instance: its name.
        memory_mib: resident memory.
        descriptors: open files and sockets.
        started_s: when its process began, seconds since 1970; 0 if it does not tell.
    """

    instance: str
    memory_mib: float
    descriptors: float
    started_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Growth:
    """From the second quarter of the readings (the first is a warm-up) to the last one, of the worst instance.

    Attributes:
        memory_mib: resident memory; NaN without enough readings.
        descriptors: open files and sockets; NaN likewise.
        restarts: of processes between two readings; each took what it held with it.
        watched: names of the instances that were read often enough.
    """

    memory_mib: float
    descriptors: float
    restarts: int
    watched: frozenset[str]


def read(reply: Reply) -> Reading | None:
    """Takes a `/metrics` answer apart; none if it tells no memory or no descriptors."""
    found = dict(_METRIC.findall(reply.body.decode("utf-8", "replace")))
    if not {_MEMORY, _DESCRIPTORS} <= found.keys():
        return None
    memory_mib, started_s = float(found[_MEMORY]) / MEBIBYTE, float(found.get(_START, 0.0))
    return Reading(reply.instance, memory_mib, float(found[_DESCRIPTORS]), started_s)


def growth(readings: Sequence[Reading]) -> Growth:
    """The greatest growth of any instance."""
    series: dict[str, list[Reading]] = defaultdict(list)
    for one in readings:
        series[one.instance].append(one)
    watched = frozenset(name for name, found in series.items() if len(found) >= FEWEST)
    known = [series[name] for name in watched]
    return Growth(
        memory_mib=max((_grown([one.memory_mib for one in found]) for found in known), default=math.nan),
        descriptors=max((_grown([one.descriptors for one in found]) for found in known), default=math.nan),
        restarts=sum(len({one.started_s for one in found}) - 1 for found in series.values()),
        watched=watched,
    )


@contextmanager
def watched(url: str, every_s: float = EVERY_S) -> Iterator[Callable[[], list[Reading]]]:
    """Reads `/metrics` for as long as the block lasts, each time from whichever instance answers."""
    readings: list[Reading] = []

    def watch() -> None:
        reading = _ask(url)
        if reading is not None:
            readings.append(reading)

    with repeated(watch, lambda: every_s):
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
