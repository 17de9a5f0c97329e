"""A finished sweep and what is known about it -> [Capacity]. Pure.

`timelines`, `recovery_s`: what becomes of a fleet that gets too much, and of it afterwards: [Row] -> [Timeline].
Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.capacity import crossing, curve, fits
from loadtest.capacity.fits import BatchFit, Interval, ScalePoint, Scaling
from loadtest.capacity.records import FORMAT, Capacity, Provenance, Timeline
from loadtest.capacity.row import IN_TIME_WANTED, Row
from loadtest.capacity.sweep import OVERLOAD, RECOVERY
from loadtest.errors import OptionError, RunError
from loadtest.target import service_status


@dataclass(frozen=True, slots=True)
class SweepFindings:
    """What a sweep found.

    Attributes:
        slo_ms: the limit that was looked for.
        rows: every step.
        verified_fps: rate that held in every repetition, if one did.
        repetitions: how often it was repeated.
        batch: time in the engine by batch size, if it can be told.
        cpu_ms: CPU time of the instances per frame, if they tell.
        timelines: failures and the like, measured elsewhere.
        provenance: where all this comes from.
    """

    slo_ms: float
    rows: tuple[Row, ...]
    verified_fps: float | None
    repetitions: int
    batch: BatchFit | None
    cpu_ms: float | None
    timelines: tuple[Timeline, ...]
    provenance: Provenance


def assemble(found: SweepFindings, others: Sequence[Capacity] = ()) -> Capacity:
    """Puts a measurement together.

    Args:
        found: of the sweep.
        others: earlier measurements of fleets of other sizes, for the scaling; the same model and SLO.

    Raises:
        RunError: no step can be trusted.
        OptionError: another measurement cannot be compared.
    """
    rows = curve.calm(found.rows)
    if not rows:
        doubts = sorted({doubt for row in found.rows for doubt in row.doubts})
        raise RunError(f"no step is a valid measurement: {'; '.join(doubts) or 'none was made'}")
    slo = crossing.find(rows, found.provenance.seed)
    instances = max(len(row.shares) for row in rows)
    return Capacity(
        format=FORMAT,
        slo_ms=found.slo_ms,
        in_time_wanted=IN_TIME_WANTED,
        instances=instances,
        slo=slo.fps,
        bounded=slo.bounded,
        verified_fps=found.verified_fps,
        repetitions=found.repetitions,
        peak_fps=curve.peak_fps(found.rows),
        knee_fps=curve.knee_fps(rows),
        cpu_ms=found.cpu_ms,
        rows=found.rows,
        batch=found.batch,
        scaling=_scaling(instances, slo.fps, found, others),
        timelines=(*timelines(found.rows, found.slo_ms), *found.timelines),
        provenance=found.provenance,
    )


def _scaling(instances: int, slo: Interval, found: SweepFindings, others: Sequence[Capacity]) -> Scaling:
    for other in others:
        demand_same(found.slo_ms, found.provenance.status, other)
    # A fleet of the same size measured anew replaces the earlier one.
    sizes = {other.instances: other.slo.estimate for other in others} | {instances: slo.estimate}
    return fits.fit_scaling([ScalePoint(size, fps) for size, fps in sizes.items()])


def demand_same(slo_ms: float, status: dict[str, Any], other: Capacity) -> None:
    """Makes sure that an earlier measurement speaks of the same thing.

    Args:
        slo_ms: of this one.
        status: of this one's service, its `/status` document.
        other: the earlier one.

    Raises:
        OptionError: another SLO, model or kind of engine.
    """
    keys = {"model": ("model", "name"), "engine": ("engine", "kind"), "engine's note": ("engine", "note")}
    theirs_status = other.provenance.status
    pairs: dict[str, tuple[object, object]] = {"SLO in ms": (slo_ms, other.slo_ms)}
    for name, (outer, inner) in keys.items():
        pairs[name] = (
            service_status.text(status, outer, inner),
            service_status.text(theirs_status, outer, inner),
        )
    # Which of a machine's GPUs it was makes no difference.
    pairs["device"] = (_device(status), _device(theirs_status))
    for name, (mine, theirs) in pairs.items():
        if mine != theirs:
            raise OptionError(
                f"{other.provenance.url} of {other.provenance.started}: its {name} is {theirs}, not {mine}; "
                f"compare measurements of the same"
            )


def _device(status: dict[str, Any]) -> str:
    return service_status.text(status, "engine", "device").partition(":")[0]


def timelines(rows: Sequence[Row], slo_ms: float) -> tuple[Timeline, ...]:
    """One timeline per overload that was measured; says so where frames waited in queues for longer than the SLO."""
    return tuple(_timeline(row, slo_ms) for row in rows if row.kind == "overload" and row.seconds_offered)


def recovery_s(offered: Sequence[int], in_time: Sequence[int]) -> int | None:
    """Seconds until every further second met the SLO; none if the last one did not."""
    fine = [good >= IN_TIME_WANTED * due for due, good in zip(offered, in_time, strict=True)]
    if not fine or not fine[-1]:
        return None
    return max((second + 1 for second, held in enumerate(fine) if not held), default=0)


def _timeline(row: Row, slo_ms: float) -> Timeline:
    offered, in_time = row.seconds_offered, row.seconds_in_time
    split = len(offered) // 2
    recovered = recovery_s(offered[split:], in_time[split:])
    came_back = "did not recover while it lasted" if recovered is None else f"met the SLO again after {recovered} s"
    due, good = sum(offered[:split]), sum(in_time[:split])
    if due and good >= IN_TIME_WANTED * due:
        text = f"Offered {OVERLOAD * row.asked_fps:.1f} frames/s it was not overloaded: {good / due:.1%} came in time"
        return Timeline(
            "No overload", f"{text}; the capacity is higher than was found", offered, in_time, _marks(split)
        )
    queued_ms = row.stages.get("queue", 0.0)
    too_long = f"; queues alone took {queued_ms:.0f} ms, a smaller FRAMEFLEET_QUEUE_SIZE refuses the surplus sooner"
    text = (
        f"Offered {OVERLOAD * row.asked_fps:.1f} frames/s it answered {sum(in_time[:split]) / split:.1f} in time; "
        f"then at {RECOVERY * row.asked_fps:.1f} it {came_back}. "
        f"{row.counts.shed} frames were refused with 503, {row.counts.failed} failed"
    )
    if queued_ms > slo_ms:
        text += too_long
    return Timeline(
        title="Overload and recovery",
        text=text,
        offered=offered,
        in_time=in_time,
        marks=_marks(split),
    )


def _marks(split: int) -> tuple[tuple[float, str], ...]:
    return ((0.0, f"x{OVERLOAD:g}"), (float(split), f"x{RECOVERY:g}"))
