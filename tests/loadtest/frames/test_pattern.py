"""Every pattern sends what was asked for, in its own way."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.errors import OptionError
from loadtest.frames import pattern, schedule
from loadtest.frames.pattern import PATTERNS, Pattern, Phase, read_phases
from loadtest.frames.schedule import Arrival

TIMES_S = tuple(n / 25 for n in range(50))
OPEN = [kind for kind in PATTERNS if kind != "closed"]


def drawn(kind: str, *, cameras: int = 1, fps: float = 100.0, seconds: float = 10.0, seed: int = 1) -> list[Arrival]:
    return list(pattern.draw(Pattern(kind, cameras, fps, seconds, seed, burst=8), (), TIMES_S))


def moments(arrivals: list[Arrival]) -> np.ndarray:
    return np.array([arrival.due_s for arrival in arrivals])


@pytest.mark.parametrize("kind", OPEN)
@settings(deadline=None)
@given(cameras=st.integers(1, 5), fps=st.sampled_from([2.0, 12.5, 40.0]), seed=st.integers(0, 2**20))
def test_the_rate_is_within_one_percent_of_what_was_asked(kind: str, cameras: int, fps: float, seed: int) -> None:
    arrivals = drawn(kind, cameras=cameras, fps=fps, seconds=40, seed=seed)
    # A camera on time stamps may start up to a frame late; the rest are exact.
    slack = cameras if kind == "timestamps" else 0
    assert abs(len(arrivals) - cameras * fps * 40) <= slack
    assert moments(arrivals).tolist() == sorted(moments(arrivals))
    assert all(0 <= arrival.due_s < 40 and 0 <= arrival.frame < 50 for arrival in arrivals)
    assert {arrival.camera for arrival in arrivals} == set(range(cameras))


@pytest.mark.parametrize("kind", OPEN)
def test_the_seed_decides(kind: str) -> None:
    assert drawn(kind, seed=7) == drawn(kind, seed=7)
    assert drawn(kind, seed=7) != drawn(kind, seed=8)


def test_poisson_arrivals_vary_as_a_poisson_process_does() -> None:
    """Counts per window have their mean as variance, gaps have their mean as deviation, and gaps are independent."""
    due_s = moments(drawn("poisson", fps=200, seconds=500))
    counts = np.histogram(due_s, bins=np.arange(0, 500.1, 0.1))[0]
    gaps = np.diff(due_s)
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.06)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.02)
    assert np.mean(gaps > 3 * gaps.mean()) == pytest.approx(np.exp(-3), rel=0.05)
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.02


def test_constant_arrivals_do_not_vary() -> None:
    assert np.diff(moments(drawn("constant"))) == pytest.approx(0.01)


def test_bursts_come_at_once_and_keep_the_mean_rate() -> None:
    at_once = Counter(arrival.due_s for arrival in drawn("bursts"))
    assert set(at_once.values()) == {8}
    assert [after - before for before, after in pairwise(sorted(at_once))] == pytest.approx([0.08] * 124)


def test_time_stamps_keep_the_videos_own_rhythm() -> None:
    times_s = (0.0, 0.1, 0.2, 0.7)
    arrivals = schedule.timestamps(cameras=1, fps=10, seconds=20, times_s=times_s, seed=3)
    gap_after = {a.frame: round(b.due_s - a.due_s, 6) for a, b in pairwise(arrivals)}
    # The mean gap of 7/30 s becomes 0.1 s; the last frame is followed by a mean gap.
    assert gap_after == pytest.approx({0: 3 / 70, 1: 3 / 70, 2: 15 / 70, 3: 0.1}, abs=1e-5)


@pytest.mark.parametrize("times_s", [(0.0,), (0.0, 0.0, 0.0)], ids=["one frame", "no times"])
def test_a_video_without_times_is_steady(times_s: tuple[float, ...]) -> None:
    arrivals = schedule.timestamps(cameras=1, fps=10, seconds=2, times_s=times_s, seed=3)
    assert [b.due_s - a.due_s for a, b in pairwise(arrivals)] == pytest.approx([0.1] * (len(arrivals) - 1))


def test_a_closed_loop_has_no_schedule() -> None:
    assert drawn("closed") == []


@pytest.mark.parametrize("kind", OPEN)
def test_phases_follow_each_other_at_their_own_rates(kind: str) -> None:
    asked = Pattern(kind, 2, 20.0, 999.0, 1, 8)
    arrivals = pattern.draw(asked, (Phase(1.5, 10.0), Phase(0.5, 20.0)), TIMES_S)
    due_s = moments(list(arrivals))
    assert due_s.tolist() == sorted(due_s)
    assert abs(int((due_s < 10).sum()) - 600) <= 2
    assert abs(int((due_s >= 10).sum()) - 400) <= 2
    assert due_s.max() < 30


def test_phases_are_read() -> None:
    assert read_phases("1.5x20, .5x30") == (Phase(1.5, 20.0), Phase(0.5, 30.0))
    assert read_phases("") == ()


@pytest.mark.parametrize("text", ["1.5", "x3", "1x2,", "0x3", "1x0", "-1x3", "nanx1"])
def test_phases_that_make_no_sense_are_named(text: str) -> None:
    with pytest.raises(OptionError, match=r"--phases=.*give FACTORxSECONDS"):
        read_phases(text)


@settings(deadline=None)
@given(cameras=st.integers(1, 6), parts=st.integers(1, 5), kind=st.sampled_from(OPEN))
def test_shards_together_are_the_whole_and_share_no_camera_they_need_not(cameras: int, parts: int, kind: str) -> None:
    arrivals = drawn(kind, cameras=cameras, fps=20, seconds=2)
    shards = [schedule.shard(arrivals, cameras, part, parts) for part in range(parts)]
    merged = [arrival for one in shards for arrival in one]
    assert sorted(merged, key=lambda a: (a.due_s, a.camera, a.frame)) == sorted(
        arrivals, key=lambda a: (a.due_s, a.camera, a.frame)
    )
    if cameras >= parts:
        owners = Counter(camera for one in shards for camera in {arrival.camera for arrival in one})
        assert set(owners.values()) == {1}
