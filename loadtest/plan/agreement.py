"""How far the simulation is from what was measured: [Capacity] -> [Model], [Agreement...]. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from loadtest.capacity import curve
from loadtest.capacity.records import Capacity
from loadtest.capacity.row import Row
from loadtest.errors import OptionError
from loadtest.plan.fleet_model import Model
from loadtest.plan.simulation import Load, simulate
from loadtest.target import service_status

# A difference is worth a word if it is both a large part and more than a scheduler's hiccup.
DIFFERS_BEYOND = 0.2
DIFFERS_BEYOND_MS = 2.0
SECONDS, LEAST_S, WARM_S = 60.0, 5.0, 2.0
# So many frames tell enough of a rate.
FRAMES = 100_000
QUEUE_SIZE = 32
# A simulation that agrees at fewer of the measured rates is not of the fleet that was measured.
CREDIBLE_FROM = 0.75
# More lines than this would hide the answer above them.
MOST_LINES = 5


@dataclass(frozen=True, slots=True)
class Agreement:
    """One rate, measured and simulated; latencies in ms."""

    fps: float
    measured_p50_ms: float
    simulated_p50_ms: float
    measured_p95_ms: float
    simulated_p95_ms: float

    @property
    def distance_ms(self) -> float:
        """How far apart the 95th percentiles are."""
        return abs(self.simulated_p95_ms - self.measured_p95_ms)

    @property
    def differs(self) -> bool:
        """Whether the simulation is off in either of them."""
        pairs = (
            (self.measured_p50_ms, self.simulated_p50_ms),
            (self.measured_p95_ms, self.simulated_p95_ms),
        )
        return any(_far(measured, simulated) for measured, simulated in pairs)


def model_of(found: Capacity) -> Model:
    """An instance as it was measured: its batch cost, its limits, the time around its engine.

    Raises:
        OptionError: the service does not tell where time goes.
    """
    if not can_be_modelled(found):
        raise OptionError(f"{found.provenance.url}: no stage times were measured; a simulation needs them")
    quiet = _timed(found)[0]
    status = found.provenance.status
    infer_ms, queue_ms = quiet.stages["infer"], quiet.stages.get("queue", 0.0)
    return Model(
        a_ms=found.batch.a_ms if found.batch else infer_ms,
        b_ms=found.batch.b_ms if found.batch else 0.0,
        spread_ms=found.batch.error_ms if found.batch else 0.0,
        # Without batches of two sizes every batch was one frame.
        max_batch=(service_status.number(status, "engine", "max_batch") or 1) if found.batch else 1,
        queue_size=service_status.number(status, "queue", "limit") or QUEUE_SIZE,
        around_ms=max(0.0, _mean_ms(quiet) - infer_ms - queue_ms),
    )


def can_be_modelled(found: Capacity) -> bool:
    """Whether the service told where time goes."""
    return bool(_timed(found))


def _timed(found: Capacity) -> list[Row]:
    return [row for row in curve.calm(found.rows) if row.times and "infer" in row.stages]


def compare(found: Capacity, model: Model, seed: int) -> tuple[Agreement, ...]:
    """Simulates the fleet that was measured, once for each rate that held in at least half of its steps."""
    return tuple(_compare_rate(fps, rows, found, model, seed) for fps, rows in _held(found).items())


def credible(agreements: Sequence[Agreement]) -> bool:
    """Whether the simulation is like the fleet that was measured; with no rate to compare nobody knows."""
    agreed = sum(not one.differs for one in agreements)
    return bool(agreements) and agreed >= CREDIBLE_FROM * len(agreements)


def text(agreements: Sequence[Agreement]) -> str:
    """Where simulated and measured differ: a line for each of the rates at which they differ most."""
    far = [one for one in agreements if one.differs]
    if not agreements:
        return "no measured step to hold the simulation against"
    wanted = "" if credible(agreements) else f", {CREDIBLE_FROM:.0%} of them wanted"
    head = f"simulated and measured fleet agree at {len(agreements) - len(far)} of {len(agreements)} rates{wanted}"
    lines = [
        f"  at {one.fps:.1f} frames/s: p50 {one.simulated_p50_ms:.1f} simulated, {one.measured_p50_ms:.1f} measured; "
        f"p95 {one.simulated_p95_ms:.1f} simulated, {one.measured_p95_ms:.1f} measured"
        for one in sorted(sorted(far, key=lambda one: -one.distance_ms)[:MOST_LINES], key=lambda one: one.fps)
    ]
    if far:
        lines.append("  docs/capacity.md says what the simulation leaves out; CPU that is short shows here")
    return "\n".join([head, *lines])


def _held(found: Capacity) -> dict[float, list[Row]]:
    """Steps by rate: a rate that was repeated is still one rate."""
    rates: dict[float, list[Row]] = {}
    for row in curve.calm(found.rows):
        rates.setdefault(row.asked_fps, []).append(row)
    return {
        fps: [row for row in rows if row.times]
        for fps, rows in rates.items()
        if sum(row.holds for row in rows) * 2 >= len(rows) and any(row.times for row in rows)
    }


def _compare_rate(fps: float, rows: Sequence[Row], found: Capacity, model: Model, seed: int) -> Agreement:
    load = Load(
        instances=found.instances,
        instances_per_host=found.instances,
        fps=fps,
        streams=0,
        seconds=min(SECONDS, max(LEAST_S, FRAMES / fps)),
        warm_s=WARM_S,
        slo_ms=found.slo_ms,
        seed=seed,
    )
    outcome = simulate(model, load)
    times = [row.times for row in rows if row.times]
    return Agreement(
        fps=fps,
        measured_p50_ms=median(one.p50_ms for one in times),
        simulated_p50_ms=outcome.p50_ms,
        measured_p95_ms=median(one.p95_ms for one in times),
        simulated_p95_ms=outcome.p95_ms,
    )


def _far(measured_ms: float, simulated_ms: float) -> bool:
    distance = abs(simulated_ms - measured_ms)
    return distance > DIFFERS_BEYOND_MS and distance > DIFFERS_BEYOND * measured_ms


def _mean_ms(row: Row) -> float:
    return row.times.service_mean_ms if row.times else 0.0
