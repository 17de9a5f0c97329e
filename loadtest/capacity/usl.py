"""Fits the Universal Scalability Law (Gunther 1993) to fleets of several sizes: [ScalePoint...] -> [Scaling]. Pure.

With `y = n / X(n)` the law is linear: `y = (1 + contention * (n - 1) + coherency * n * (n - 1)) / one_fps`. Its terms
are found by least squares on relative distances, so that a fleet of 16 does not outweigh one of 2. None may be below 0.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from loadtest.capacity.fits import ScalePoint, Scaling
from loadtest.errors import RunError

# A fleet that does 2 % more per instance than a smaller one is within what repetitions differ by.
LINEAR_WITHIN = 0.02


def fit(points: Sequence[ScalePoint]) -> Scaling:
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
