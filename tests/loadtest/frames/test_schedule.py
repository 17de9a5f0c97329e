"""Arrivals are decided before the run, by the seed alone."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.frames import schedule
from loadtest.frames.schedule import Arrival, Schedule


@settings(deadline=None)
@given(
    cameras=st.integers(1, 20),
    fps=st.sampled_from([0.5, 1.0, 5.0, 12.5, 25.0, 30.0]),
    seconds=st.sampled_from([2.0, 4.0, 10.0]),
    frames=st.integers(1, 50),
    seed=st.integers(0, 2**32),
)
def test_every_camera_sends_its_rate_in_order_and_in_time(
    cameras: int, fps: float, seconds: float, frames: int, seed: int
) -> None:
    arrivals = schedule.cameras(cameras=cameras, fps=fps, seconds=seconds, frames=frames, seed=seed)
    assert list(arrivals) == sorted(arrivals, key=lambda arrival: arrival.due_s)
    assert all(0 <= arrival.due_s < seconds for arrival in arrivals)
    assert all(0 <= arrival.frame < frames for arrival in arrivals)
    assert Counter(arrival.camera for arrival in arrivals) == dict.fromkeys(range(cameras), fps * seconds)


def test_a_camera_is_steady_and_goes_round_the_frames() -> None:
    arrivals = [a for a in schedule.cameras(cameras=3, fps=5, seconds=4, frames=7, seed=3) if a.camera == 1]
    gaps = [later.due_s - earlier.due_s for earlier, later in pairwise(arrivals)]
    assert gaps == pytest.approx([0.2] * 19)
    assert [a.frame for a in arrivals] == [(arrivals[0].frame + n) % 7 for n in range(20)]


def test_cameras_are_spread_over_the_frame_period() -> None:
    first: dict[int, Arrival] = {}
    for arrival in schedule.cameras(cameras=4, fps=5, seconds=2, frames=50, seed=1):
        first.setdefault(arrival.camera, arrival)
    slots = sorted(int(arrival.due_s / 0.05) for arrival in first.values())
    assert slots == [0, 1, 2, 3]
    assert len({arrival.frame for arrival in first.values()}) > 1


def test_the_seed_decides() -> None:
    def drawn(seed: int) -> Schedule:
        return schedule.cameras(cameras=4, fps=5, seconds=3, frames=30, seed=seed)

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)
