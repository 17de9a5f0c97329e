"""Why a plan that rests on measurements is to be taken with care: [Capacity...] -> warnings. Pure."""

from collections.abc import Iterable, Sequence

from loadtest.capacity import curve
from loadtest.capacity.provenance import made_here
from loadtest.capacity.records import Capacity
from loadtest.plan.source import on_cpu
from loadtest.target import proof, service_status

WIDE = 0.2


def of(measured: Sequence[Capacity], p95_ms: float | None) -> tuple[str, ...]:
    """All of them, each once.

    Args:
        measured: of fleets of one or several sizes.
        p95_ms: limit to be met; none takes the one they were measured for.
    """
    found = [*_together(measured), *(text for one in measured for text in (*_place(one), *_figures(one)))]
    if p95_ms is not None:
        found += [text for one in measured if p95_ms != one.slo_ms for text in _limit(one, p95_ms)]
    return tuple(dict.fromkeys(found))


def _together(measured: Sequence[Capacity]) -> Iterable[str]:
    sizes = [one.instances for one in measured]
    for size in sorted({size for size in sizes if sizes.count(size) > 1}):
        yield f"{_count(size)}: measured in {sizes.count(size)} files, the last one counts"
    if len({str(one.provenance.machine) for one in measured}) > 1:
        yield "the measurements were made on different machines: not only the number of instances sets them apart"


def _place(one: Capacity) -> Iterable[str]:
    name, status = _name(one), one.provenance.status
    if service_status.text(status, "engine", "device") == service_status.UNKNOWN:
        yield f"{name} does not say whether it used a GPU: one GPU for each instance is assumed"
    if service_status.text(status, "engine", "kind") == "simulated":
        yield f"{name} is of a simulated accelerator, not of a model"
    if made_here(one.provenance.url) and on_cpu([one]):
        yield f"{name} shared its machine with what made the load: without that it may hold more"
    if one.provenance.detecting is not None and one.provenance.detecting < proof.FEW:
        yield f"{name} saw a clip in which the model finds next to nothing: your pictures may cost more"


def _figures(one: Capacity) -> Iterable[str]:
    name = _name(one)
    if not one.bounded:
        yield f"{name} never reached its limit: it holds at least that much"
    if one.verified_fps is None:
        yield f"{name} found no rate that held every time it was repeated"
    if one.slo.high - one.slo.low > WIDE * one.slo.estimate:
        yield f"{name} is uncertain: {one.slo.low:.1f} to {one.slo.high:.1f} frames/s"
    if one.cpu_ms is None:
        yield f"{name} says nothing about CPU: hosts are not checked for cores"


def _limit(one: Capacity, p95_ms: float) -> Iterable[str]:
    name = _name(one)
    if len({point.instances for point in one.scaling.points}) > 1:
        yield f"--p95-ms={p95_ms:g}: {name} says that of its own size alone; other sizes in its file are left out"
    slowest_ms = max((row.times.p95_ms for row in curve.calm(one.rows) if row.times), default=0.0)
    if p95_ms > slowest_ms:
        yield f"--p95-ms={p95_ms:g}: {name} was never so slow and may hold more; measure with --slo-ms={p95_ms:g}"


def _name(one: Capacity) -> str:
    return f"the measurement of {_count(one.instances)}"


def _count(instances: int) -> str:
    return f"{instances} instance{'s' if instances != 1 else ''}"
