"""The Universal Scalability Law is recovered from fleets that follow it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.capacity import fits
from loadtest.capacity.fits import ScalePoint, Scaling
from loadtest.errors import RunError

SIZES = (1, 2, 4, 8, 16, 32)


def law(one_fps: float, contention: float, coherency: float) -> Scaling:
    return Scaling(one_fps, contention, coherency, (), 3, False)


def measured(known: Scaling, sizes: tuple[int, ...], noise: float = 0.0, seed: int = 0) -> list[ScalePoint]:
    draw = np.random.default_rng(seed)
    return [ScalePoint(n, known.fps(n) * (1 + noise * float(draw.standard_normal()))) for n in sizes]


@settings(deadline=None)
@given(st.floats(1, 1000), st.floats(0, 0.3), st.floats(0, 0.01))
def test_known_parameters_are_recovered_exactly_without_noise(one: float, contention: float, coherency: float) -> None:
    found = fits.fit_scaling(measured(law(one, contention, coherency), SIZES))
    assert found.one_fps == pytest.approx(one, rel=1e-6)
    assert found.contention == pytest.approx(contention, abs=1e-6)
    assert found.coherency == pytest.approx(coherency, abs=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_known_parameters_are_recovered_from_noisy_data(seed: int) -> None:
    known = law(50.0, 0.05, 0.002)
    found = fits.fit_scaling(measured(known, SIZES * 5, noise=0.03, seed=seed))
    assert found.one_fps == pytest.approx(50.0, rel=0.05)
    assert found.contention == pytest.approx(0.05, abs=0.02)
    assert found.coherency == pytest.approx(0.002, abs=0.0008)
    assert [found.fps(n) for n in SIZES] == pytest.approx([known.fps(n) for n in SIZES], rel=0.05)


def test_one_size_of_fleet_gives_a_straight_line_that_says_it_is_assumed() -> None:
    found = fits.fit_scaling([ScalePoint(2, 80.0)])
    assert (found.fps(1), found.fps(4), found.measured) == (pytest.approx(40.0), pytest.approx(160.0), 1)


def test_two_sizes_tell_contention_but_not_coherency() -> None:
    found = fits.fit_scaling([ScalePoint(1, 40.0), ScalePoint(2, 76.0)])
    assert found.coherency == 0
    assert found.contention == pytest.approx(2 * 40 / 76 - 1)
    assert found.fps(2) == pytest.approx(76.0)


def test_growth_beyond_linear_is_noted_and_goes_on_as_the_largest_fleet_does() -> None:
    found = fits.fit_scaling([ScalePoint(1, 40.0), ScalePoint(2, 90.0)])
    assert found.faster_than_linear
    assert (found.contention, found.coherency) == (0, 0)
    assert found.fps(4) == pytest.approx(180)


def test_fleets_smaller_than_the_most_efficient_one_are_left_out() -> None:
    found = fits.fit_scaling([ScalePoint(1, 10.0), ScalePoint(2, 40.0), ScalePoint(4, 76.0), ScalePoint(8, 140.0)])
    assert found.faster_than_linear
    assert [found.fps(n) for n in (2, 4, 8)] == pytest.approx([40, 76, 140], rel=0.02)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 64), st.floats(1, 1e4)), min_size=1, max_size=8))
def test_no_term_is_ever_negative(points: list[tuple[int, float]]) -> None:
    found = fits.fit_scaling([ScalePoint(n, fps) for n, fps in points])
    assert found.one_fps > 0
    assert min(found.contention, found.coherency) >= 0


@pytest.mark.parametrize("points", [[], [ScalePoint(0, 10.0)], [ScalePoint(1, 0.0)]], ids=["none", "empty", "idle"])
def test_a_fleet_that_did_nothing_cannot_be_fitted(points: list[ScalePoint]) -> None:
    with pytest.raises(RunError, match="at least one instance"):
        fits.fit_scaling(points)
