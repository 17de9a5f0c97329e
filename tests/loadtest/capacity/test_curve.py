"""Knee, peak and the rate for another limit are read off the curve."""

import pytest

from loadtest.capacity import curve
from tests.loadtest.capacity.builders import row


def test_the_knee_is_where_throughput_over_latency_is_greatest() -> None:
    rows = [row(10, p95_ms=20), row(40, p95_ms=25), row(60, p95_ms=30), row(70, p95_ms=80), row(75, p95_ms=400)]
    assert curve.knee_fps(rows) == 60


def test_without_an_answer_there_is_no_knee() -> None:
    assert curve.knee_fps([row(10, 0.0)]) == 0.0


def test_the_curve_leaves_out_overload_and_what_cannot_be_trusted() -> None:
    rows = [
        row(30),
        row(10),
        row(20, 0.5, doubts=("late",), sent_in_time=1.0),
        row(60, kind="overload"),
        row(15, kind="verify"),
    ]
    assert [one.asked_fps for one in curve.calm(rows)] == [10, 15, 30]


def test_a_step_that_held_in_spite_of_a_doubt_is_on_the_curve() -> None:
    assert len(curve.calm([row(20, doubts=("late",))])) == 1


def test_the_peak_is_the_most_right_answers_of_any_step() -> None:
    assert curve.peak_fps([row(50), row(100, 0.6)]) == 60
    assert curve.peak_fps([]) == 0


@pytest.mark.parametrize(
    ("p95_ms", "fps"),
    [(40, 20), (60, 30), (500, 40), (10, 0), (20, 10)],
    ids=["measured", "between", "above all", "below all", "lowest"],
)
def test_the_rate_for_a_limit_is_interpolated(p95_ms: float, fps: float) -> None:
    rows = [row(10, p95_ms=20), row(20, p95_ms=40), row(40, p95_ms=80)]
    assert curve.fps_at_p95(rows, p95_ms) == pytest.approx(fps)


def test_a_rate_with_too_many_unanswered_frames_meets_no_limit() -> None:
    assert curve.fps_at_p95([row(10, p95_ms=20), row(20, 0.9, p95_ms=30)], 1000) == 10


def test_a_noisy_fast_step_above_a_slow_one_is_not_trusted_alone() -> None:
    rows = [row(10, p95_ms=20), row(20, p95_ms=100), row(30, p95_ms=60), row(40, p95_ms=200)]
    assert curve.fps_at_p95(rows, 70) < 30
