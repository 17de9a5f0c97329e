"""Percentiles as everything here gives them: by nearest rank, so that each is a value that was observed."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def percentiles(values: Sequence[float] | npt.NDArray[np.floating], *percents: float) -> tuple[float, ...]:
    """The smallest value that so many percent of all do not exceed, for each of `percents`; NaN of no values."""
    if not len(values):
        return (float("nan"),) * len(percents)
    return tuple(float(found) for found in np.percentile(values, percents, method="inverted_cdf"))
