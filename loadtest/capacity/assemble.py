"""A finished sweep and what is known about it -> [Capacity]. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.capacity import crossing, curve, overload, usl
from loadtest.capacity.fits import BatchFit, Interval, ScalePoint, Scaling
from loadtest.capacity.records import FORMAT, Capacity, Provenance, Timeline
from loadtest.capacity.row import IN_TIME_WANTED, Row
from loadtest.errors import OptionError, RunError
from loadtest.target import service_status


@dataclass(frozen=True, slots=True)
class Findings:
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


def assemble(found: Findings, others: Sequence[Capacity] = ()) -> Capacity:
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
        timelines=(*overload.timelines(found.rows, found.slo_ms), *found.timelines),
        provenance=found.provenance,
    )


def _scaling(instances: int, slo: Interval, found: Findings, others: Sequence[Capacity]) -> Scaling:
    for other in others:
        demand_same(found.slo_ms, found.provenance.status, other)
    # A fleet of the same size measured anew replaces the earlier one.
    sizes = {other.instances: other.slo.estimate for other in others} | {instances: slo.estimate}
    return usl.fit([ScalePoint(size, fps) for size, fps in sizes.items()])


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
