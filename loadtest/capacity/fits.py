"""Estimates and fitted lines of a capacity measurement, records without a way of their own: -> [Capacity].

`batch_times`, `mean_size`: what a batch costs the engine: [SampleTable] -> sizes and times -> [BatchFit]. Pure.

Every answer tells how many frames the engine took with its own, and for how long. A batch of n frames is told n times,
so each counts as a part of 1/n.

`fit_scaling`: fits the Universal Scalability Law (Gunther 1993) to fleets of several sizes: [ScalePoint...] ->
[Scaling]. Pure.

With `y = n / X(n)` the law is linear: `y = (1 + contention * (n - 1) + coherency * n * (n - 1)) / one_fps`. Its terms
are found by least squares on relative distances, so that a fleet of 16 does not outweigh one of 2. None may be below 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from loadtest.errors import RunError
from loadtest.measure.samples import SampleTable

# A size that was seen less often may be one slow moment, and would turn the line.
FEWEST = 3
# A fleet that does 2 % more per instance than a smaller one is within what repetitions differ by.
LINEAR_WITHIN = 0.02


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate in frames/s with the bounds of its 95 % confidence interval."""

    low: float
    estimate: float
    high: float


@dataclass(frozen=True, slots=True)
class BatchPoint:
    """Batches of one size: how many were seen, and their mean time in the engine in ms."""

    size: int
    batches: int
    mean_ms: float


@dataclass(frozen=True, slots=True)
class BatchFit:
    """Time in the engine of a batch of n frames, fitted as `a_ms + b_ms * n`.

    Attributes:
        a_ms: cost of a batch.
        b_ms: cost of a frame.
        error_ms: root mean square distance of the batches from the line.
        points: what was seen, by size.
    """

    a_ms: float
    b_ms: float
    error_ms: float
    points: tuple[BatchPoint, ...]


@dataclass(frozen=True, slots=True)
class ScalePoint:
    """A fleet of so many instances and the frames/s it held."""

    instances: int
    fps: float


@dataclass(frozen=True, slots=True)
class Scaling:
    """Universal Scalability Law: `X(n) = one_fps * n / (1 + contention * (n - 1) + coherency * n * (n - 1))`.

    Attributes:
        one_fps: frames/s of one instance.
        contention: part of the work that is serialised.
        coherency: cost of instances keeping each other up to date.
        points: what it was fitted to, by number of instances.
        measured: how many different numbers of instances that was; below 2 the line is an assumption, not a fit.
        faster_than_linear: small fleets do less per instance than larger ones; they are left out of the line.
    """

    one_fps: float
    contention: float
    coherency: float
    points: tuple[ScalePoint, ...]
    measured: int
    faster_than_linear: bool

    def fps(self, instances: float) -> float:
        """What a fleet of that size holds, frames/s."""
        extra = self.contention * (instances - 1) + self.coherency * instances * (instances - 1)
        return self.one_fps * instances / (1 + extra)


def fit_scaling(points: Sequence[ScalePoint]) -> Scaling:
    """Fits as many of the law's three terms as there are different numbers of instances.

    Small fleets may do less per instance than larger ones, since more instances even out who waits. The law knows no
    such gain, so fleets smaller than the most efficient one are left out of it.

    Raises:
        RunError: there is no point, or one without instances or throughput.
    """
    if not points or any(point.instances < 1 or point.fps <= 0 for point in points):
        raise RunError("scaling: every fleet needs at least one instance and some throughput; measure again")
    ordered = tuple(sorted(points, key=lambda point: point.instances))
    smallest = _from_most_efficient(ordered)
    fitted = [point for point in ordered if point.instances >= smallest]
    offset, contention, coherency = _terms(fitted)
    return Scaling(
        one_fps=1 / offset,
        contention=contention / offset,
        coherency=coherency / offset,
        points=ordered,
        measured=len({point.instances for point in ordered}),
        faster_than_linear=smallest > ordered[0].instances,
    )


def _terms(points: Sequence[ScalePoint]) -> tuple[float, float, float]:
    n = np.array([point.instances for point in points], dtype=np.float64)
    fps = np.array([point.fps for point in points])
    terms = np.stack([np.ones_like(n), n - 1, n * (n - 1)], axis=1)
    # Divided by y itself, so that what is minimised is the relative distance.
    return _least_squares(terms / (n / fps)[:, None], len(np.unique(n)))


def _from_most_efficient(points: Sequence[ScalePoint]) -> int:
    """The size of the fleet that does most per instance; a larger one has to be better by more than chance."""
    each: dict[int, list[float]] = {}
    for point in points:
        each.setdefault(point.instances, []).append(point.fps / point.instances)
    best, most = points[0].instances, 0.0
    for size, rates in each.items():
        mean = sum(rates) / len(rates)
        if mean > most * (1 + LINEAR_WITHIN):
            best, most = size, mean
    return best


def _least_squares(terms: NDArray[np.float64], most: int) -> tuple[float, float, float]:
    """Non-negative least squares by trying every choice of terms; there are four.

    Args:
        terms: relative terms, float64 [points, 3]; they should sum to 1 in each row.
        most: how many terms may be used.
    """
    wanted = np.ones(len(terms))
    best, least = np.zeros(3), np.inf
    choices = [(0, *more) for count in range(min(most, 3)) for more in combinations((1, 2), count)]
    for choice in choices:
        found = np.zeros(3)
        found[list(choice)] = np.linalg.lstsq(terms[:, choice], wanted, rcond=None)[0]
        distance = float(np.sum((terms @ found - wanted) ** 2))
        if np.all(found >= 0) and distance < least - 1e-12:
            best, least = found, distance
    return float(best[0]), float(best[1]), float(best[2])


def batch_times(samples: SampleTable) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The batches that answers tell of.

    Args:
        samples: structured array [samples] as `samples.read` gives it.

    Returns:
        For each frame whose answer tells: size of its batch in frames int64 [frames], the batch's time in the engine
        in ms float64 [frames].
    """
    telling = samples[(samples["batch"] > 0) & ~np.isnan(samples["infer_ms"])]
    return telling["batch"].astype(np.int64), telling["infer_ms"].astype(np.float64)


def mean_size(size: NDArray[np.int64]) -> float | None:
    """Frames per batch, from the sizes as `told` gives them; none if there are none."""
    return float(len(size) / np.sum(1 / size)) if len(size) else None


def fit_batches(size: NDArray[np.int64], took_ms: NDArray[np.float64]) -> BatchFit | None:
    """Least squares through all batches, with neither cost below zero.

    Args:
        size: of each frame's batch, int64 [frames].
        took_ms: that batch's time in the engine, float64 [frames].

    Returns:
        The line, or none if there are not two different sizes.
    """
    sizes, frames = np.unique(size, return_counts=True)
    usual = sizes[frames >= FEWEST * sizes]
    if len(usual) < 2:  # noqa: PLR2004 - a line needs two points
        return None
    known = np.isin(size, usual)
    size, took_ms = size[known], took_ms[known]
    a_ms, b_ms = _line(size.astype(np.float64), took_ms)
    error_ms = float(np.sqrt(np.average((a_ms + b_ms * size - took_ms) ** 2, weights=1 / size)))
    points = tuple(
        BatchPoint(int(each), round(int(np.sum(size == each)) / int(each)), float(np.mean(took_ms[size == each])))
        for each in usual
    )
    return BatchFit(a_ms, b_ms, error_ms, points)


def _line(size: NDArray[np.float64], took_ms: NDArray[np.float64]) -> tuple[float, float]:
    # polyfit weighs the distance, not its square.
    b_ms, a_ms = (float(value) for value in np.polyfit(size, took_ms, 1, w=1 / np.sqrt(size)))
    if b_ms < 0:
        return float(np.average(took_ms, weights=1 / size)), 0.0
    if a_ms < 0:
        return 0.0, float(np.sum(took_ms) / np.sum(size))
    return a_ms, b_ms
