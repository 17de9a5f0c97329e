"""What the curve of a sweep says: [Row...] -> knee, peak, the rate for another limit. Pure."""

import math
from collections.abc import Sequence

import numpy as np

from loadtest.capacity.crossing import falling
from loadtest.capacity.row import IN_TIME_WANTED, Row

# Steps that were not meant to find the capacity say nothing about the calm curve.
CALM = ("sweep", "verify")


def calm(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The steps of the curve that say something about the service, by rate."""
    return tuple(sorted((row for row in rows if row.kind in CALM and row.trusted), key=lambda row: row.asked_fps))


def knee_fps(rows: Sequence[Row]) -> float:
    """The rate of the greatest power, throughput divided by latency (Kleinrock 1979), 0 without an answer.

    Below it a higher rate buys more throughput than it costs latency; beyond it less.
    """
    answered = [row for row in calm(rows) if row.times]
    return max(answered, key=_power).asked_fps if answered else 0.0


def peak_fps(rows: Sequence[Row]) -> float:
    """Most right answers per second of any step."""
    return max((row.ok_fps for row in rows), default=0.0)


def fps_at_p95(rows: Sequence[Row], p95_ms: float) -> float:
    """The highest rate whose p95 is within a limit, interpolated between steps; 0 if the lowest rate is slower."""
    points = [(row.asked_fps, _p95_of_all(row)) for row in calm(rows)]
    rates, slow = np.array([rate for rate, _ in points]), np.array([p95 for _, p95 in points])
    rising = -falling(-slow, np.ones_like(slow)) if len(slow) else slow
    holding = np.flatnonzero(rising <= p95_ms)
    if not len(holding):
        return 0.0
    last = int(holding[-1])
    if last == len(rising) - 1 or math.isinf(rising[last + 1]):
        return float(rates[last])
    part = (p95_ms - rising[last]) / (rising[last + 1] - rising[last])
    return float(rates[last] + part * (rates[last + 1] - rates[last]))


def _power(row: Row) -> float:
    return row.ok_fps / row.times.mean_ms if row.times else 0.0


def _p95_of_all(row: Row) -> float:
    """The p95 of a step's right answers; without end if too many frames had no right one."""
    not_right = row.counts.offered - row.counts.ok
    if row.times is None or not_right > (1 - IN_TIME_WANTED) * row.counts.offered:
        return math.inf
    return row.times.p95_ms
