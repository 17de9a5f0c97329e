"""What a batch costs, from answers that tell how many frames were taken together."""

import numpy as np
import pytest
from numpy.typing import NDArray

from loadtest.capacity import fits
from tests.loadtest.capacity.builders import table


def frames_of(sizes: NDArray[np.int64], took_ms: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Batches as their frames tell of them: each as often as it has frames."""
    return np.repeat(sizes, sizes), np.repeat(took_ms, sizes)


def test_answers_tell_of_their_batches_and_those_that_do_not_are_left_out() -> None:
    samples = table([(0.0, 0.0, 0.02, "gpu0", took_ms) for took_ms in (12.0, 12.0, np.nan, 9.0)])
    samples["batch"] = [2, 2, 1, 0]
    size, took_ms = fits.batch_times(samples)
    assert (size.tolist(), took_ms.tolist()) == ([2, 2], [12.0, 12.0])


def test_the_mean_size_counts_batches_and_not_their_frames() -> None:
    size, _ = frames_of(np.array([1, 1, 1, 5]), np.zeros(4))
    assert fits.mean_size(size) == pytest.approx(2.0)
    assert fits.mean_size(np.empty(0, np.int64)) is None


def test_the_cost_of_batch_and_frame_is_recovered_from_noisy_batches() -> None:
    draw = np.random.default_rng(3)
    sizes = draw.integers(1, 9, 2000)
    found = fits.fit_batches(*frames_of(sizes, 8 + 1.5 * sizes + draw.normal(0, 0.4, 2000)))
    assert found is not None
    assert (found.a_ms, found.b_ms) == (pytest.approx(8, abs=0.1), pytest.approx(1.5, abs=0.03))
    assert found.error_ms == pytest.approx(0.4, abs=0.05)
    assert [point.size for point in found.points] == list(range(1, 9))
    assert [point.batches for point in found.points] == np.bincount(sizes)[1:].tolist()


def test_every_batch_counts_the_same_whatever_its_size() -> None:
    """Three sizes that no line goes through: the least squares of the batches, not of their frames."""
    sizes = np.repeat([1, 2, 8], 10)
    took_ms = np.repeat([10.0, 14.0, 20.0], 10)
    b_ms, a_ms = np.polyfit(sizes, took_ms, 1)
    found = fits.fit_batches(*frames_of(sizes, took_ms))
    assert found is not None
    assert (found.a_ms, found.b_ms) == pytest.approx((a_ms, b_ms))


def test_a_size_that_was_hardly_ever_seen_does_not_turn_the_line() -> None:
    sizes = np.random.default_rng(3).integers(1, 5, 2000)
    usual = fits.fit_batches(*frames_of(sizes, 8 + 1.5 * sizes))
    assert usual is not None
    assert fits.fit_batches(*frames_of(np.append(sizes, 9), np.append(8 + 1.5 * sizes, 900.0))) == usual


@pytest.mark.parametrize("sizes", [[], [1] * 50, [1] * 50 + [2] * 2], ids=["none", "one", "one and a chance"])
def test_batches_of_one_size_give_no_line(sizes: list[int]) -> None:
    counted = np.array(sizes, np.int64)
    assert fits.fit_batches(*frames_of(counted, 9.0 * counted)) is None


@pytest.mark.parametrize(
    ("took_ms", "line"),
    [([10.0, 8.0], (9.0, 0.0)), ([1.0, 4.0], (0.0, 9 / 5))],
    ids=["falling", "steeper than through zero"],
)
def test_no_cost_is_negative(took_ms: list[float], line: tuple[float, float]) -> None:
    found = fits.fit_batches(*frames_of(np.repeat([1, 2], 3), np.repeat(took_ms, 3)))
    assert found is not None
    assert (found.a_ms, found.b_ms) == pytest.approx(line)
