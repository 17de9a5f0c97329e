"""Runs the matrix: every fault once, in order, then faults at random, alone and two at once, all under one load.

Flow: rehearsal -> load -> [Fault] x [Stage] -> [Observation...] -> [Campaign] -> report.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from chaos.faults.stage import Stage
from chaos.load import Load, make_pictures, measure
from chaos.machine import Footprint, footprint
from chaos.matrix import Fault, Pair, pairs
from chaos.observation import Observation, counted, mark, observe
from chaos.rehearsal import ChaosError, Rehearsal, rehearsal

CALM_S = 5.0
STRENGTH_LIMIT_S = 300.0
POLL_S = 0.1
GROWTH = 1.2


@dataclass(frozen=True, slots=True)
class Wish:
    """What to run.

    Attributes:
        folder: a new one, for the fleet.
        model: path or `simulated:...`.
        instances: at least 2.
        faults: each once, in this order.
        share: of what the fleet holds with one instance fewer, that the cameras send.
        minutes: of random faults after them.
        seed: of everything that is random.
        frames: JPEG files that the cameras send.
        poison: PNG file that is magenta all over.
    """

    folder: Path
    model: str
    instances: int
    faults: Sequence[Fault]
    share: float
    minutes: float
    seed: int
    frames: Sequence[bytes]
    poison: bytes


@dataclass(frozen=True, slots=True)
class Campaign:
    """What came of it.

    Attributes:
        model: that was served.
        instances: how many.
        share: see `Wish`.
        rate: frames per second that were sent.
        capacity: frames per second that one instance answered.
        rows: the faults in order.
        random_rows: the faults at random.
        settled: footprint before the random part.
        ended: footprint after it.
        left: what `down` left behind.
    """

    model: str
    instances: int
    share: float
    rate: float
    capacity: float
    rows: tuple[Observation, ...]
    random_rows: tuple[Observation, ...]
    settled: Footprint
    ended: Footprint
    left: tuple[str, ...]

    @property
    def grew(self) -> float:
        """Memory after the random part over memory before it."""
        return self.ended.memory_bytes / max(1, self.settled.memory_bytes)

    @property
    def met(self) -> bool:
        """Whether all that was expected held."""
        return all(row.met for row in (*self.rows, *self.random_rows)) and not self.left and self.grew <= GROWTH


def campaign(wish: Wish, say: Callable[[str], None]) -> Campaign:
    """Runs everything; nothing of it runs afterwards.

    Raises:
        ChaosError: the fleet does not start, or does not come back to full strength.
    """
    with rehearsal(wish.folder, wish.model, wish.instances) as fleet:
        pictures = make_pictures(fleet.url, wish.frames)
        capacity = measure(fleet.instances[0].url, pictures)
        rate = wish.share * capacity * (wish.instances - 1)
        say(f"{fleet.model}: {capacity:.1f} frames/s an instance; cameras send {rate:.1f}")
        with Load(fleet.url, pictures, rate).running() as load:
            acts = _Acts(fleet, load, wish, say)
            rows = tuple(acts.act(fault) for fault in wish.faults)
            settled = footprint(fleet.var)
            random_rows = tuple(acts.at_random())
            ended = footprint(fleet.var)
        left = fleet.down()
    return Campaign(wish.model, wish.instances, wish.share, rate, capacity, rows, random_rows, settled, ended, left)


class _Acts:
    def __init__(self, fleet: Rehearsal, load: Load, wish: Wish, say: Callable[[str], None]) -> None:
        self._fleet, self._load, self._wish, self._say = fleet, load, wish, say
        self._random = random.Random(wish.seed)

    def at_random(self) -> Iterator[Observation]:
        """Draws faults until the time is up."""
        end = time.monotonic() + self._wish.minutes * 60
        for fault in drawn(self._wish.faults, random.Random(self._wish.seed)):
            if time.monotonic() >= end:
                return
            yield self.act(fault)

    def act(self, fault: Fault) -> Observation:
        """Provokes one fault and waits until the fleet is strong again.

        Raises:
            ChaosError: it never is.
        """
        calm_from = time.monotonic()
        # A percentile to be compared with needs more answers.
        time.sleep(CALM_S * 3 if fault.p99_times else CALM_S)
        # The reviver may have held back, meanwhile, an instance that died too often.
        self._wait_strong()
        before, began = mark(self._fleet.var), time.monotonic()
        small_disk = (self._fleet.log).is_mount()
        instances = self._fleet.instances
        chosen, other = self._random.sample(instances, 2) if len(instances) > 1 else instances * 2
        stage = Stage(self._fleet, chosen, other, self._wish.poison, small_disk)
        broken = ""
        try:
            with contextmanager(fault.provoke)(stage):
                healed = time.monotonic()
        except ChaosError as error:
            broken, healed = str(error), time.monotonic()
            for instance in instances:
                self._fleet.uncue(instance)
        strong = self._wait_strong()
        time.sleep(CALM_S)
        row = observe(
            fault.name,
            self._load.between(began, time.monotonic()),
            self._load.between(calm_from, began),
            before,
            self._fleet.var,
            strong_s=strong - healed,
            allowed=round(fault.lost_s * self._load.rate),
            p99_times=fault.p99_times,
            p99_limit_ms=fault.p99_ms,
            broken=broken,
        )
        self._say(_line(row))
        return row

    def _wait_strong(self) -> float:
        deadline = time.monotonic() + STRENGTH_LIMIT_S
        while not self._fleet.ready():
            if time.monotonic() > deadline:
                raise ChaosError(f"not at full strength after {STRENGTH_LIMIT_S:g} s; see {self._fleet.log}")
            time.sleep(POLL_S)
        return time.monotonic()


def drawn(faults: Sequence[Fault], order: random.Random) -> Iterator[Fault]:
    """Draws faults without end, of those that may be drawn: one alone, then two at once, and so on."""
    alone = [fault for fault in faults if fault.at_random]
    together = pairs(alone)
    while alone:
        yield order.choice(alone)
        if together:
            pair = order.choice(together)
            yield Fault(pair.name, partial(at_once, pair), pair.lost_s)


def at_once(pair: Pair, stage: Stage) -> Iterator[None]:
    """Provokes two faults at the same time, and heals them so; the second one's instance is the other one."""
    faults = (pair.first.provoke(stage), pair.second.provoke(replace(stage, chosen=stage.other)))
    with ThreadPoolExecutor(len(faults)) as pool:
        try:
            _all_done([pool.submit(next, fault) for fault in faults])
            yield
        finally:
            _all_done([pool.submit(next, fault, None) for fault in faults])


def _all_done(futures: Sequence[Future[None]]) -> None:
    # Before one's error is told the other one has to be done too, else it could not be healed.
    wait(futures)
    for future in futures:
        future.result()


def _line(row: Observation) -> str:
    verdict = "met" if row.met else f"NOT MET {row.broken}"
    return (
        f"{verdict:4}  {row.fault}: {row.sent} sent, {row.lost} lost of {row.allowed} allowed "
        f"({counted(row.details) or 'none'}), {row.slow} slow, "
        f"p99 {row.calm_p99_ms:.0f} to {row.p99_ms:.0f} ms, worst {row.worst_ms:.0f} ms, "
        f"strong after {row.strong_s:.1f} s; {', '.join(row.noticed)}"
    )
