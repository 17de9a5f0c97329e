"""Runs a simulated fleet under a load: [Model] + [Load] -> [SimulatedOutcome]. Pure: the same seed gives the same.

`Trial`, `attempt`: tries a plan in simulation, with a host that fails: [Plan] + [Model] -> [Trial]. Pure.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import simpy

from framefleet.wire.percentiles import percentiles
from loadtest.capacity.row import IN_TIME_WANTED
from loadtest.errors import OptionError
from loadtest.plan.fleet_model import Fleet, Instance, Model, Process
from loadtest.plan.records import Basis, Plan

# Long enough for queues to show, short enough to wait for: a few seconds of computing.
MOST_FRAMES = 300_000
LONGEST_S, SHORTEST_S = 60.0, 3.0
# Cameras so slow that a minute of them says nothing are simulated for longer.
LEAST_FRAMES = 300
# A second of more would take minutes, and no nginx passes as many.
MOST_FPS = 500_000
MS = 1e3


@dataclass(frozen=True, slots=True)
class HostFailure:
    """So many hosts fail at a moment and are back later; both in s from the start.

    Attributes:
        hosts: that fail at once.
        at_s: when.
        back_s: when they are there again; past the end for never.
    """

    hosts: int
    at_s: float
    back_s: float


@dataclass(frozen=True, slots=True)
class Load:
    """What is simulated.

    Attributes:
        instances: behind one balancer.
        instances_per_host: that fail together.
        fps: frames per second of all streams.
        streams: cameras that send at a constant rate, out of step; 0 for arrivals at random (Poisson).
        seconds: length.
        warm_s: at its start, left out of the figures.
        slo_ms: limit of an answer.
        seed: of arrivals and spread.
        failures: of hosts.
    """

    instances: int
    instances_per_host: int
    fps: float
    streams: int
    seconds: float
    warm_s: float
    slo_ms: float
    seed: int
    failures: tuple[HostFailure, ...] = ()


@dataclass(frozen=True, slots=True)
class SimulatedOutcome:
    """What came of it; latencies in ms from the scheduled moment, NaN without an answer.

    Attributes:
        offered: frames that fell due after the warm-up.
        ok: of those answered.
        in_time: answered within the limit, as a part of those that fell due, 0 to 1.
        mean_ms: mean.
        p50_ms: half were no slower.
        p95_ms: 95 % were no slower.
        p99_ms: 99 % were no slower.
        shed: refused since an instance was full; with the warm-up.
        retried: sent again since an instance died.
        lost: due while no instance was there.
        utilisation: part of the time that engines were busy, 0 to 1.
        batch: mean frames per batch.
    """

    offered: int
    ok: int
    in_time: float
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    shed: int
    retried: int
    lost: int
    utilisation: float
    batch: float


@dataclass(frozen=True, slots=True)
class Trial:
    """A simulated cell."""

    load: Load
    outcome: SimulatedOutcome

    @property
    def holds(self) -> bool:
        """Whether it met the SLO through the failure and lost nothing."""
        return self.outcome.in_time >= IN_TIME_WANTED and not self.outcome.lost


def simulate(model: Model, load: Load) -> SimulatedOutcome:
    """Simulates a fleet until every frame of the load was answered, refused or lost."""
    world = simpy.Environment()
    fleet = Fleet(world, model, load.instances, load.seed)
    due_s = arrivals(load)
    world.process(_send(world, fleet, due_s))
    for failure in load.failures:
        world.process(_fail(world, fleet, failure, load))
    world.run()
    return _outcome(fleet, due_s, load)


def arrivals(load: Load) -> list[float]:
    """Moments at which frames fall due, in s, in order."""
    draw = np.random.default_rng([load.seed, 1])
    if load.streams:
        period_s = load.streams / load.fps
        offsets = np.sort(draw.uniform(0, period_s, load.streams))
        periods = np.arange(int(load.seconds / period_s) + 1) * period_s
        moments = (periods[:, None] + offsets).ravel()
    else:
        count = int(load.fps * load.seconds)
        moments = np.sort(draw.uniform(0, load.seconds, draw.poisson(count)))
    found: list[float] = moments[moments < load.seconds].tolist()
    return found


def _send(world: simpy.Environment, fleet: Fleet, due_s: Iterable[float]) -> Process:
    for moment in due_s:
        if moment > world.now:
            yield world.timeout(moment - world.now)
        fleet.send(moment)


def _fail(world: simpy.Environment, fleet: Fleet, failure: HostFailure, load: Load) -> Process:
    yield world.timeout(failure.at_s)
    hosts = list(islice(_hosts(fleet, load.instances_per_host), failure.hosts))
    down = [instance for host in hosts for instance in host]
    fleet.fail(down)
    if failure.back_s < load.seconds:
        yield world.timeout(failure.back_s - failure.at_s)
        fleet.repair(down)


def _hosts(fleet: Fleet, size: int) -> Iterator[list[Instance]]:
    for first in range(0, len(fleet.instances), size):
        yield fleet.instances[first : first + size]


def _outcome(fleet: Fleet, due_s: list[float], load: Load) -> SimulatedOutcome:
    counted = np.array(fleet.due_s) >= load.warm_s
    latency_ms = np.array(fleet.latency_s)[counted] * MS
    offered = int(np.sum(np.array(due_s) >= load.warm_s))
    batches = sum(instance.batches for instance in fleet.instances)
    p50, p95, p99 = percentiles(latency_ms, 50, 95, 99)
    return SimulatedOutcome(
        offered=offered,
        ok=len(latency_ms),
        in_time=float(np.sum(latency_ms <= load.slo_ms)) / max(1, offered),
        mean_ms=float(np.mean(latency_ms)) if len(latency_ms) else np.nan,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        shed=fleet.shed,
        retried=fleet.retried,
        lost=fleet.lost,
        utilisation=sum(instance.busy_s for instance in fleet.instances) / (load.instances * load.seconds),
        batch=sum(instance.frames for instance in fleet.instances) / max(1, batches),
    )


def attempt(plan: Plan, known: Basis, model: Model, seed: int) -> Trial:
    """Simulates the fullest cell, spare host and all; after a third of the time one host fails for good.

    Raises:
        OptionError: it gets more frames than can be simulated.
    """
    cell = plan.cells[0]
    if cell.rate_fps > MOST_FPS:
        raise OptionError(
            f"{cell.rate_fps:,.0f} frames/s behind one balancer: a simulation takes up to {MOST_FPS:,}; "
            f"simulate a part of the streams, or give a smaller --nic-gbps"
        )
    usual_s = min(LONGEST_S, max(SHORTEST_S, MOST_FRAMES / cell.rate_fps))
    seconds = max(usual_s, LEAST_FRAMES / cell.rate_fps)
    load = Load(
        instances=cell.hosts_with_spare * plan.host.instances,
        instances_per_host=plan.host.instances,
        fps=cell.rate_fps,
        streams=max(1, round(cell.rate_fps / plan.demand.fps)),
        seconds=seconds,
        warm_s=seconds / 10,
        slo_ms=known.p95_ms,
        seed=seed,
        failures=(HostFailure(1, seconds / 3, seconds),),
    )
    return Trial(load, simulate(model, load))
