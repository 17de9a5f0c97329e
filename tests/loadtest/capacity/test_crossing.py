"""The capacity is where the part of frames in time crosses the SLO, and its interval covers the truth."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.capacity import crossing
from loadtest.capacity.row import Row
from tests.loadtest.capacity.builders import row


def test_the_crossing_is_interpolated_between_the_rates_around_it() -> None:
    rates, parts = np.array([10.0, 20.0, 30.0]), np.array([1.0, 1.0, 0.9])
    assert crossing.crossing_fps(rates, parts, np.ones(3), 0.95) == pytest.approx(25.0)


def test_no_rate_that_holds_is_no_capacity() -> None:
    assert crossing.crossing_fps(np.array([10.0]), np.array([0.5]), np.ones(1), 0.95) == 0.0


def test_a_bad_step_below_good_ones_counts_with_its_neighbours() -> None:
    falling = crossing.falling(np.array([1.0, 0.90, 0.98, 0.2]), np.ones(4))
    assert falling.tolist() == pytest.approx([1.0, 0.94, 0.94, 0.2])


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_monotone_curve_falls_and_keeps_the_mean(values: list[float]) -> None:
    weights = np.arange(1.0, len(values) + 1)
    found = crossing.falling(np.array(values), weights)
    assert np.all(np.diff(found) <= 1e-12)
    assert np.average(found, weights=weights) == pytest.approx(np.average(values, weights=weights))


def test_many_frames_that_were_in_time_outweigh_a_disturbed_step_below() -> None:
    held = [row(20, seconds=6) for _ in range(5)]
    found = crossing.find([row(5), row(10, 0.9, seconds=6), *held, row(24, 0.4, seconds=6)], seed=1)
    assert 20 <= found.fps.estimate < 24


def test_without_a_missed_step_the_capacity_is_a_lower_bound() -> None:
    found = crossing.find([row(10), row(20)], seed=1)
    assert (found.fps.estimate, found.bounded) == (20.0, False)


def test_the_interval_spans_at_least_the_gap_between_held_and_missed() -> None:
    found = crossing.find([row(50), row(60, 0.2)], seed=1)
    assert found.bounded
    assert (found.fps.low, found.fps.high) == (50.0, 60.0)
    assert 50.0 <= found.fps.estimate <= 60.0


def test_the_same_seed_gives_the_same_interval() -> None:
    rows = [noisy(rate, np.random.default_rng(int(rate))) for rate in (40.0, 50.0, 60.0)]
    assert crossing.find(rows, seed=5) == crossing.find(rows, seed=5)


def test_the_interval_covers_the_true_capacity_in_nearly_all_measurements() -> None:
    covered = sum(_covers(seed) for seed in range(40))
    assert covered >= 36


def _covers(seed: int) -> bool:
    draw = np.random.default_rng(seed)
    rows = [noisy(rate, draw) for rate in (45.0, 50.0, 55.0, 57.0, 59.0, 59.0, 59.0, 61.0, 65.0)]
    found = crossing.find(rows, seed).fps
    return found.low <= TRUE_FPS <= found.high


# Where the part in time below is 0.95.
TRUE_FPS = 60.0
# Smaller for seconds that differ more.
ALIKE = 15.0


def noisy(rate: float, draw: np.random.Generator) -> Row:
    """Good and bad seconds, since neighbouring answers are alike; their mean part in time falls with the rate."""
    mean = min(0.995, 0.95 - (rate - TRUE_FPS) * 0.01)
    offered = np.full(10, round(rate))
    in_time = draw.binomial(offered, draw.beta(mean * ALIKE, (1 - mean) * ALIKE, 10))
    return replace(
        row(rate),
        in_time=float(in_time.sum() / offered.sum()),
        seconds_offered=tuple(map(int, offered)),
        seconds_in_time=tuple(map(int, in_time)),
    )
