"""What this service aims at, as ratios within one run, each met or missed."""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, factorial

import numpy as np

from bench.peers.measured import Results
from bench.peers.roster import FIRST, FLASK, FLEET, INSTANCES, MODEL_FLEET, NOT_PEERS, ONE
from bench.peers.rounds import LOAD_SHARE, MODEL
from bench.peers.works import LARGE, LARGE_RAW, SMALL, SMALL_RAW, TINY, WORKS, Work

# Service times: how exactly waits are found, and up to where the sum holds; at a load of 0.7 the p99 is at 6.5.
HALVED_TO, SURE_TO = 1e-6, 20.0


@dataclass(frozen=True, slots=True)
class Target:
    """A `measure` in words, the `value` of this run, the `limit`, and whether at most or at `least` that is wanted."""

    measure: str
    value: float
    limit: float
    least: bool = False

    @property
    def met(self) -> bool:
        """False also for what is no number."""
        return self.value >= self.limit if self.least else self.value <= self.limit


def targets(results: Results, cores: int) -> list[Target]:
    """Every target of which this run has the figures."""
    found = []
    for make in (_cpu, _first, _tiny, _model, _tails, _rates, _memory, _kill):
        try:
            found += make(results, cores)
        except (KeyError, ValueError):  # a run of some servers or works has no such figures
            continue
    return found


def best_peer(results: Results, work: Work, of: Callable[[str, str], float], *, least: bool) -> float:
    """The least, or most, of a figure (`results.cpu_ms`, `results.rate`) among the peers that do such work.

    Raises:
        ValueError: there is none.
    """
    values = [of(work.name, server) for server in results.turns[work.name] if server not in NOT_PEERS]
    return min(values) if least else max(values)


def queue_tail(load: float) -> float:
    """p99 over p50 of the time in an M/D/1 queue at that load, above 0 and below 1."""
    return (1 + _wait(0.99, load)) / (1 + _wait(0.5, load))


def _wait(share: float, load: float) -> float:
    """What that share of requests waits at most, in service times: Crommelin's formula, turned round by halving."""
    low, high = 0.0, 100.0 / (1 - load)
    while high - low > HALVED_TO:
        middle = (low + high) / 2
        # The terms alternate and grow with the wait; far out they only round to something near 1.
        terms = ((load * (k - middle)) ** k / factorial(k) * exp(load * (middle - k)) for k in range(int(middle) + 1))
        low, high = (middle, high) if middle < SURE_TO and (1 - load) * sum(terms) < share else (low, middle)
    return low


def _cpu(results: Results, _: int) -> list[Target]:
    found = []
    for work, over_bare, over_peer in ((SMALL, 1.7, 0.8), (LARGE, 1.15, 0.65)):
        ours, peer = results.cpu_ms(work.name, ONE), best_peer(results, work, results.cpu_ms, least=True)
        found.append(
            Target(f"CPU of a {work.name} over bare decode + letterbox", ours / results.bare(work.name), over_bare)
        )
        found.append(Target(f"CPU of a {work.name} over the best peer's", ours / peer, over_peer))
    return found


def _first(results: Results, _: int) -> list[Target]:
    return [
        Target(
            f"CPU of a {work.name} over the first server's",
            results.cpu_ms(work.name, ONE) / results.cpu_ms(work.name, FIRST),
            limit,
        )
        for work, limit in ((SMALL_RAW, 0.3), (LARGE_RAW, 0.2))
    ]


def _tiny(results: Results, _: int) -> list[Target]:
    ratio = results.rate(TINY.name, ONE) / results.rate(TINY.name, FLASK)
    return [Target("64x64 pictures a second over a bare Flask route, one instance", ratio, 0.5, least=True)]


def _model(results: Results, cores: int) -> list[Target]:
    rate = results.rate(MODEL, MODEL_FLEET)
    generator = float(np.median([turn.generator_ms for turn in results.turns[MODEL][MODEL_FLEET]])) / 1000
    # What the fleet would answer if the cores that the generator takes were its own.
    ratio = rate * cores / (cores - rate * generator) / float(np.median(results.model_bare_rate))
    return [Target("default model through nginx over bare ONNX Runtime sessions, frames/s", ratio, 0.9, least=True)]


def _tails(results: Results, _: int) -> list[Target]:
    tail = float(np.median([turn.p99_ms / turn.p50_ms for turn in results.poisson[FLEET]])) / queue_tail(LOAD_SHARE)
    return [
        Target(f"p99 over p50, {SMALL.connections} clients in a closed loop", results.tail(SMALL.name, FLEET), 2),
        Target(f"p99 over p50 at {LOAD_SHARE:.0%} of its peak, Poisson, over M/D/1's", tail, 1.5),
    ]


def _rates(results: Results, _: int) -> list[Target]:
    found = []
    for work in WORKS:
        if work.name in results.turns:
            ours = max(results.rate(work.name, server) for server in (ONE, FLEET))
            ratio = ours / best_peer(results, work, results.rate, least=False)
            found.append(Target(f"answers a second over the best peer's, {work.name}", ratio, 1.3, least=True))
    return found


def _memory(results: Results, _: int) -> list[Target]:
    life, sizes = results.lives[MODEL_FLEET], results.lives[FLEET]
    return [
        Target("MB resident an instance, default model, its part of nginx too", life.loaded_mb / INSTANCES, 200),
        Target("memory after many requests of mixed sizes over after a few", sizes.mixed_mb / sizes.loaded_mb, 1.1),
    ]


def _kill(results: Results, _: int) -> list[Target]:
    life = results.lives[MODEL_FLEET]
    strong_s = float("nan") if life.strong_s is None else life.strong_s
    return [
        Target("s from kill -9 until rate and instances are back, default model", strong_s, 2),
        Target("requests lost by it", life.kill_lost, 0),
    ]
