"""What becomes of a fleet that gets too much, and of it afterwards: [Row] -> [Timeline]. Pure."""

from collections.abc import Sequence

from loadtest.capacity.records import Timeline
from loadtest.capacity.row import IN_TIME_WANTED, Row
from loadtest.capacity.sweep import OVERLOAD, RECOVERY


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
