"""What measurements tell a planner: [Capacity...] -> [Basis]. Pure."""

from collections.abc import Iterable, Sequence

from loadtest.capacity import curve, usl
from loadtest.capacity.assemble import demand_same
from loadtest.capacity.fits import ScalePoint
from loadtest.capacity.records import Capacity
from loadtest.errors import OptionError
from loadtest.plan import doubts, source
from loadtest.plan.records import Basis, PerFrame


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
    scaling = usl.fit([ScalePoint(instances, fps) for instances, fps in points.items()])
    cpu = [one.cpu_ms for one in measured if one.cpu_ms is not None]
    per_frame = PerFrame(
        request_bytes=max(one.provenance.request_bytes for one in measured),
        response_bytes=max(one.provenance.response_bytes for one in measured),
        cpu_ms=max(cpu) if cpu else None,
    )
    return Basis(source.of(measured), scaling, limit_ms, per_frame, doubts.of(measured, p95_ms))


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
