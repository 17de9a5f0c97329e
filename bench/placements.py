"""Ways to place instances on a machine, and which is advised: CPUs -> [Placement...] -> [Tried...]. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from deploy.fleet import MAX_INSTANCES
from loadtest.report.table import milliseconds

# Fewer frames than the best by no more than this is noise: then fewer instances win, which take less memory.
AS_GOOD = 0.95
# On a large machine the halves of halves say enough.
MOST_SIZES = 4


@dataclass(frozen=True, slots=True)
class Placement:
    """A way to place a fleet.

    Attributes:
        instances: how many.
        own: CPUs of each alone, as `make up` takes them: `auto`, or 0 where all share all of them.
    """

    instances: int
    own: str = "auto"

    def __str__(self) -> str:
        if self.instances == 1:
            return "1 on all CPUs"
        return f"{self.instances} sharing all CPUs" if self.own == "0" else f"{self.instances} on CPUs of their own"


@dataclass(frozen=True, slots=True)
class Try:
    """What a placement did once.

    Attributes:
        fps: right answers per second to clients that wait for them: the greatest throughput.
        p95_ms: of independent clients, who ask all placements for the same part of that.
        memory_mib: resident memory of the largest instance; NaN if none tells.
        doubts: why it is no valid measurement, a line each.
    """

    fps: float
    p95_ms: float
    memory_mib: float
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tried:
    """A placement and all that it did, of which medians count; at least once."""

    placement: Placement
    tries: Sequence[Try]

    @property
    def fps(self) -> float:
        """Right answers per second at most."""
        return median(one.fps for one in self.tries)

    @property
    def p95_ms(self) -> float:
        """95 % of the answers to independent clients took no longer."""
        return median(one.p95_ms for one in self.tries)

    @property
    def memory_mib(self) -> float:
        """Resident memory of all instances."""
        return self.placement.instances * max(one.memory_mib for one in self.tries)


def placements(cpus: int) -> tuple[Placement, ...]:
    """What is worth a try on so many CPUs: one instance, one for each CPU, sizes between, and shared CPUs."""
    most = min(cpus, MAX_INSTANCES)
    sizes = sorted({1, *(max(1, most >> halved) for halved in range(MOST_SIZES))})
    own = [Placement(size) for size in sizes]
    shared = [Placement(size, "0") for size in (most, 2 * most) if 1 < size <= MAX_INSTANCES]
    return (*own, *shared)


def best(tried: Iterable[Tried]) -> Tried:
    """The fewest instances that answer as much as any; of as many the faster ones."""
    all_of_them = list(tried)
    enough = AS_GOOD * max(one.fps for one in all_of_them)
    return min((one for one in all_of_them if one.fps >= enough), key=lambda one: (one.placement.instances, -one.fps))


def render(tried: Sequence[Tried]) -> str:
    """A table, and what to write where."""
    lines = [f"{'instances':<26}{'frames/s':>10}{'p95, ms':>10}{'memory, MiB':>13}"]
    for one in tried:
        memory = "-" if math.isnan(one.memory_mib) else f"{one.memory_mib:.0f}"
        lines.append(f"{one.placement!s:<26}{one.fps:>10.1f}{milliseconds(one.p95_ms):>10}{memory:>13}")
    doubts = dict.fromkeys(doubt for one in tried for each in one.tries for doubt in each.doubts)
    lines += [f"not a valid measurement of every placement: {doubt}" for doubt in doubts]
    return "\n".join([*lines, *_advice(best(tried).placement)])


def _advice(placement: Placement) -> Iterable[str]:
    cpus = f" CPUS={placement.own}" if placement.own == "0" else ""
    own = placement.own if placement.own == "0" else f'"{placement.own}"'
    yield f"best here: {placement}"
    yield f"  on this machine: make up INSTANCES={placement.instances}{cpus}"
    yield f"  on a host like it, in fleet.toml below [[hosts]]: cpu = {placement.instances}, cpus_per_instance = {own}"
    if placement.instances == 1:
        yield "  while a lone instance starts again, requests wait: two are safer, if they answer nearly as much"
