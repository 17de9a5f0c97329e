"""What a batch costs the engine: [SampleTable] -> sizes and times -> [BatchFit]. Pure.

Every answer tells how many frames the engine took with its own, and for how long. A batch of n frames is told n times,
so each counts as a part of 1/n.
"""

import numpy as np
from numpy.typing import NDArray

from loadtest.capacity.fits import BatchFit, BatchPoint
from loadtest.measure.samples import SampleTable

# A size that was seen less often may be one slow moment, and would turn the line.
FEWEST = 3


def told(samples: SampleTable) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
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


def fit(size: NDArray[np.int64], took_ms: NDArray[np.float64]) -> BatchFit | None:
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
