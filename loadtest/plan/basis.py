"""What measurements tell a planner: [Capacity...] -> [Basis]. Pure.

`doubts_about`: why a plan that rests on measurements is to be taken with care: [Capacity...] -> warnings. Pure.

`measured_on`, `cores_of`: which fleet a plan's figures were measured on, and what hosts it had: [Capacity...] ->
[Source]. Pure.
"""

from collections.abc import Iterable, Sequence

from loadtest.capacity import curve, fits
from loadtest.capacity.assemble import demand_same
from loadtest.capacity.fits import ScalePoint
from loadtest.capacity.records import Capacity, made_here
from loadtest.errors import OptionError
from loadtest.plan.records import Basis, PerFrame, Source
from loadtest.target import proof, service_status

WIDE = 0.2


def basis(measured: Sequence[Capacity], p95_ms: float | None) -> Basis:
    """Gathers what is known about one model.

    Args:
        measured: of fleets of one or several sizes.
        p95_ms: limit to be met; none takes the one they were measured for.

    Raises:
        OptionError: nothing was measured, or not the same, or nothing so fast.
    """
    if not measured:
        raise OptionError("no measurement given; make one with `make capacity`")
    first = measured[0]
    limit_ms = first.slo_ms if p95_ms is None else p95_ms
    for other in measured[1:]:
        # With a limit of its own a plan reads the curves, and need not care what they were made for.
        demand_same(first.slo_ms if p95_ms is None else other.slo_ms, first.provenance.status, other)
    points = dict(_points(measured, p95_ms))
    scaling = fits.fit_scaling([ScalePoint(instances, fps) for instances, fps in points.items()])
    cpu = [one.cpu_ms for one in measured if one.cpu_ms is not None]
    per_frame = PerFrame(
        request_bytes=max(one.provenance.request_bytes for one in measured),
        response_bytes=max(one.provenance.response_bytes for one in measured),
        cpu_ms=max(cpu) if cpu else None,
    )
    return Basis(measured_on(measured), scaling, limit_ms, per_frame, doubts_about(measured, p95_ms))


def _points(measured: Sequence[Capacity], p95_ms: float | None) -> Iterable[tuple[int, float]]:
    """Numbers of instances and frames/s; what a file measured itself comes after what it took from others."""
    if p95_ms is None:
        for one in measured:
            yield from ((point.instances, point.fps) for point in one.scaling.points)
    for one in measured:
        fps = one.slo.estimate if p95_ms in (None, one.slo_ms) else curve.fps_at_p95(one.rows, p95_ms or one.slo_ms)
        if fps <= 0:
            raise OptionError(f"--p95-ms={p95_ms:g}: {_fastest(one)}; ask for more, or use faster instances")
        yield one.instances, fps


def _fastest(one: Capacity) -> str:
    found = [row.times.p95_ms for row in curve.calm(one.rows) if row.times]
    return f"the fastest measured p95 is {min(found):.1f} ms" if found else "nothing was answered"


def measured_on(measured: Sequence[Capacity]) -> Source:
    """What was measured, in words and in the figures that say which hosts it speaks of."""
    cpu_only, largest = on_cpu(measured), max(measured, key=lambda one: one.instances)
    status, cores = largest.provenance.status, cores_of(largest)
    shared = f" on {cores} core{'s' if cores != 1 else ''}" if cores else ""
    model, plural = service_status.text(status, "model", "name"), "s" if largest.instances != 1 else ""
    who = f"{largest.instances} instance{plural} of {model} ({service_status.engine(status)})"
    text = f"{who}{shared} held {largest.slo.estimate:.1f} frames/s"
    return Source(text, largest.provenance.frame, cpu_only, False, largest.instances, cores)


def cores_of(one: Capacity) -> int | None:
    """The cores of the machine that was measured: known only if the load was made on it too."""
    return one.provenance.machine.cores if made_here(one.provenance.url) else None


def on_cpu(measured: Sequence[Capacity]) -> bool:
    """Whether it was measured on engines that use no GPU; a simulated one stands for one that does."""
    return all(
        service_status.text(one.provenance.status, "engine", "device") == "cpu"
        and not service_status.simulated(one.provenance.status)
        for one in measured
    )


def doubts_about(measured: Sequence[Capacity], p95_ms: float | None) -> tuple[str, ...]:
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
