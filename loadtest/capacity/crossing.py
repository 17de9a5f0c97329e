"""The rate at which a fleet stops meeting the SLO, with its uncertainty: [Row...] -> [Interval]. Pure.

The part of frames answered in time falls as the rate grows. It is made monotone (pool adjacent violators), and the
capacity is where it crosses the wanted part. Seconds, and repetitions of a rate, are drawn anew for the interval: a
block bootstrap at two levels, since neighbouring answers are not independent (Kuensch 1989).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.capacity.fits import Interval
from loadtest.capacity.row import IN_TIME_WANTED, Row

REPLICATES = 1000
LOW, HIGH = 2.5, 97.5


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where the SLO stops being met.

    Attributes:
        fps: the rate with its interval.
        bounded: some rate did not meet the SLO; else the interval is that of the highest rate tried.
    """

    fps: Interval
    bounded: bool


@dataclass(frozen=True, slots=True)
class _Rate:
    """All repetitions of one rate: frames due and in time in each second, int64 [repetitions, seconds]."""

    fps: float
    offered: NDArray[np.int64]
    in_time: NDArray[np.int64]


def find(rows: Sequence[Row], seed: int, wanted: float = IN_TIME_WANTED) -> Crossing:
    """Estimates the crossing.

    Args:
        rows: steps at several rates; those of one asked rate are repetitions.
        seed: of the resampling.
        wanted: part of the frames that must be in time, 0 to 1.
    """
    rates = _rates(rows)
    fps = np.array([rate.fps for rate in rates])
    part = np.array([_part(rate.offered.sum(), rate.in_time.sum()) for rate in rates])
    frames = np.array([rate.offered.sum() for rate in rates], dtype=np.float64)
    estimate = crossing_fps(fps, part, frames, wanted)
    draw = np.random.default_rng(seed)
    drawn = np.stack([_drawn(rate, draw) for rate in rates], axis=1)
    replicates = [crossing_fps(fps, parts, frames, wanted) for parts in drawn]
    low, high = (float(value) for value in np.percentile(replicates, (LOW, HIGH)))
    # Between the last rate that held and the first that did not nothing was seen: the interval spans at least that.
    holding = falling(part, frames) >= wanted
    low = min(low, float(np.max(fps[holding], initial=0.0)))
    high = max(high, float(np.min(fps[~holding], initial=fps[-1])))
    return Crossing(Interval(low, estimate, high), bool(np.any(~holding)))


def crossing_fps(
    rate_fps: NDArray[np.float64], in_time: NDArray[np.float64], frames: NDArray[np.float64], wanted: float
) -> float:
    """The highest rate whose monotone part in time is at least the wanted one, interpolated.

    Args:
        rate_fps: in rising order, float64 [steps].
        in_time: 0 to 1, float64 [steps].
        frames: that fell due, float64 [steps]; so much does each step weigh.
        wanted: 0 to 1.

    Returns:
        Frames/s: 0 if no rate holds, the highest one if all do.
    """
    part = falling(in_time, frames)
    holding = np.flatnonzero(part >= wanted)
    if not len(holding):
        return 0.0
    last = int(holding[-1])
    if last == len(part) - 1:
        return float(rate_fps[last])
    above = (part[last] - wanted) / (part[last] - part[last + 1])
    return float(rate_fps[last] + above * (rate_fps[last + 1] - rate_fps[last]))


def falling(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The falling sequence nearest to the values (isotonic regression: pool adjacent violators).

    Args:
        values: float64 [n].
        weights: above 0, float64 [n].
    """
    blocks: list[tuple[float, float, int]] = []
    for value, heavy in zip(values, weights, strict=True):
        mean, weight, size = float(value), float(heavy), 1
        while blocks and blocks[-1][0] < mean:
            before, more, count = blocks.pop()
            mean = (before * more + mean * weight) / (more + weight)
            weight, size = weight + more, size + count
        blocks.append((mean, weight, size))
    return np.concatenate([np.full(size, mean) for mean, _, size in blocks])


def _rates(rows: Sequence[Row]) -> list[_Rate]:
    groups: dict[float, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.asked_fps].append(row)
    return [
        _Rate(
            fps,
            np.array([row.seconds_offered for row in groups[fps]], dtype=np.int64),
            np.array([row.seconds_in_time for row in groups[fps]], dtype=np.int64),
        )
        for fps in sorted(groups)
    ]


def _part(offered: NDArray[np.int64], in_time: NDArray[np.int64]) -> NDArray[np.float64]:
    """Part in time, 0 where no frame fell due."""
    return np.asarray(in_time / np.maximum(offered, 1), dtype=np.float64)


def _drawn(rate: _Rate, draw: np.random.Generator) -> NDArray[np.float64]:
    """Parts in time, float64 [replicates], of repetitions and then their seconds drawn with replacement."""
    repetitions, seconds = rate.offered.shape
    which = draw.integers(repetitions, size=(REPLICATES, repetitions, 1))
    when = draw.integers(seconds, size=(REPLICATES, repetitions, seconds))
    return _part(rate.offered[which, when].sum(axis=(1, 2)), rate.in_time[which, when].sum(axis=(1, 2)))
