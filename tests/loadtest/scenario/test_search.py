"""The search finds what a service holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.scenario.bench import RESOLUTION, highest


@given(first=st.floats(0.5, 100), limit=st.floats(1, 2000))
def test_the_highest_rate_is_found_within_the_resolution(first: float, limit: float) -> None:
    found = highest(first, lambda fps: fps <= limit)
    assert found <= limit <= found * RESOLUTION * 1.001


def test_a_rate_is_tried_once() -> None:
    tried: list[float] = []

    def holds(fps: float) -> bool:
        tried.append(fps)
        return fps <= 37

    highest(4, holds)
    assert tried[:5] == [4, 8, 16, 32, 64]
    assert len(tried) == len(set(tried)) <= 10


@pytest.mark.parametrize(("always", "expected"), [(False, 0.0), (True, 4 * 2.0**14)], ids=["none", "all"])
def test_a_service_that_holds_nothing_or_everything_ends_the_search(always: bool, expected: float) -> None:
    assert highest(4, lambda fps: always) == expected
