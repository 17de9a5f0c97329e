"""A percentile is a value that was observed, the same one in every report."""

import math

import numpy as np
import pytest

from framefleet.wire.percentiles import percentiles


@pytest.mark.parametrize(("percent", "expected"), [(50, 2.0), (75, 3.0), (95, 4.0), (100, 4.0), (0, 1.0)])
def test_a_percentile_is_a_value_that_occurred(percent: float, expected: float) -> None:
    assert percentiles([3.0, 1.0, 4.0, 2.0], percent) == (expected,)


def test_the_99th_of_a_hundred_is_the_99th() -> None:
    assert percentiles(np.arange(1.0, 101.0), 50, 95, 99, 100) == (50, 95, 99, 100)


def test_of_nothing_there_is_none() -> None:
    assert all(math.isnan(value) for value in percentiles([], 50, 99))
