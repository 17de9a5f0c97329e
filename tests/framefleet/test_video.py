import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from framefleet.video import UnreadableVideo, Video, VideoFile, count_packets, look_at

CASES = Path("tests/cases")
COUNT = 60
SUFFIXES = {".mp4": "mp4v", ".avi": "MJPG", ".webm": "VP80", ".mkv": "MJPG", ".ts": "MPG2"}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCV_FFMPEG_LOGLEVEL", "-8")


def clip(path: Path) -> Path:
    """A clip of noise, so that every part of the file is some frame's."""
    dice = np.random.default_rng(1)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*SUFFIXES[path.suffix]), 25, (64, 48))
    for _ in range(COUNT):
        writer.write(dice.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    return path


def read(path: Path) -> VideoFile:
    """The video, read to its end."""
    with VideoFile(path) as video:
        for _ in video.shots():
            pass
    return video


def test_every_frame_of_a_whole_clip_is_read_in_order(sample_video: Path) -> None:
    with VideoFile(sample_video) as video:
        shots = list(video.shots())

    assert (video.count, video.read, video.lost) == (120, 120, 0)
    assert video.fps == pytest.approx(29.97, abs=0.01)
    assert [shot.index for shot in shots] == list(range(120))
    assert shots[0].picture.shape == (144, 176, 3)
    assert [shot.taken_s for shot in shots] == pytest.approx([number / video.fps for number in range(120)], abs=0.002)


def test_every_third_frame_is_given_and_all_are_counted(sample_video: Path) -> None:
    with VideoFile(sample_video) as video:
        indices = [shot.index for shot in video.shots(every=3)]

    assert indices == list(range(0, 120, 3))
    assert video.read == 120


@pytest.mark.parametrize(("content", "message"), [(None, "no such file"), (b"no video", "no video that OpenCV can")])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(UnreadableVideo, match=message):
        VideoFile(path)


def test_reading_goes_on_behind_damage_and_counts_what_is_lost() -> None:
    with VideoFile(CASES / "damaged-middle.mp4") as video:
        times_s = [shot.taken_s for shot in video.shots()]

    assert (video.count, video.read, video.lost, len(times_s)) == (60, 53, 7, 53)
    assert times_s == sorted(times_s) and times_s[-1] == pytest.approx(59 / 25)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_whole_clip_of_any_container_lacks_nothing(tmp_path: Path, suffix: str) -> None:
    path = clip(tmp_path / f"clip{suffix}")
    video = read(path)
    assert (video.read, video.lost, look_at(path).whole) == (COUNT, 0, True)
    assert count_packets(path) == COUNT


@pytest.mark.parametrize("suffix", set(SUFFIXES) - {".mp4"})  # one that is cut has no index and does not open
def test_a_clip_that_breaks_off_says_how_much_is_missing(tmp_path: Path, suffix: str) -> None:
    path = clip(tmp_path / f"clip{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = read(path)
    assert 0 < video.read < COUNT
    # A transport stream promises no more than what is there.
    assert video.lost == (0 if suffix == ".ts" else COUNT - video.read)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("place", [0.1, 0.5, 0.8])
def test_a_damaged_clip_is_read_to_its_end_or_its_loss_is_known(tmp_path: Path, suffix: str, place: float) -> None:
    path = clip(tmp_path / f"clip{suffix}")
    content = bytearray(path.read_bytes())
    start, length = int(len(content) * place), len(content) // 12
    content[start : start + length] = random.Random(2).randbytes(length)
    path.write_bytes(content)
    video = read(path)
    assert 0 < video.read <= COUNT
    assert video.lost == COUNT - video.read


def test_a_damaged_first_frame_is_passed_over(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.avi")
    content = path.read_bytes()
    first = content.index(b"\xff\xd8", content.index(b"movi"))
    path.write_bytes(content[:first] + bytes(1000) + content[first + 1000 :])
    video = read(path)
    assert (video.read, video.lost) == (COUNT - 1, 1)


@pytest.mark.parametrize("name", ["trimmed.mp4", "sound-longer-than-picture.mkv", "variable-rate.ts"])
def test_a_promise_that_was_never_meant_is_no_loss(name: str) -> None:
    video = read(CASES / name)
    assert video.count and 0 < video.read < video.count
    assert video.lost == 0


@pytest.mark.parametrize("announced", [0, 1, 10, 1000, 0xFFFFFFFF])
def test_a_wrong_count_in_the_header_changes_nothing(tmp_path: Path, announced: int) -> None:
    path = clip(tmp_path / "clip.avi")
    content = bytearray(path.read_bytes())
    for name, behind in ((b"avih", 24), (b"strh", 40)):
        at = content.index(name) + behind
        content[at : at + 4] = struct.pack("<I", announced)
    path.write_bytes(content)
    video = read(path)
    assert (video.read, video.lost) == (COUNT, 0)


class ScriptedCapture:
    """What OpenCV's captures answer, for failures that no file can be made to show on cue."""

    def __init__(self, grabs: list[bool], count: float = 0, retrieves: Callable[[], bool] = lambda: True) -> None:
        self.grabs, self.count, self.retrieves, self.asked, self.released = grabs, count, retrieves, 0, False

    def grab(self) -> bool:
        self.asked += 1
        return self.grabs.pop(0) if self.grabs else False

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        done = self.retrieves()
        return done, np.zeros((2, 2, 3), np.uint8) if done else None

    def get(self, name: int) -> float:
        return {cv2.CAP_PROP_FRAME_COUNT: self.count, cv2.CAP_PROP_FPS: 25.0}.get(name, 0.0)

    def release(self) -> None:
        self.released = True


def scripted(*arguments: Any, **settings: Any) -> tuple[ScriptedCapture, Video]:
    capture = ScriptedCapture(*arguments)
    return capture, Video(capture, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, -9.2e18, 1e300, float("inf"), float("nan")])
def test_reading_ends_whatever_the_container_promises(count: float) -> None:
    capture, video = scripted([True, False, True], count)
    with video:
        assert len(list(video.shots())) == 2
    assert (video.count, video.lost) == (None, 1)
    assert capture.released and capture.asked < 100


def test_a_long_damage_is_passed_over_as_far_as_frames_are_promised() -> None:
    _, video = scripted([True] + [False] * 500 + [True], 502)
    assert len(list(video.shots())) == 2
    assert video.lost == 500


def test_a_stream_that_is_silent_for_too_long_has_ended() -> None:
    now = iter(range(0, 1000, 4))
    capture, video = scripted([True] + [False] * 50 + [True], patience_s=10, clock=lambda: float(next(now)))
    assert len(list(video.shots())) == 1
    assert capture.asked < 10


def test_a_frame_that_cannot_be_converted_is_lost() -> None:
    done = iter([True, False, True])
    _, video = scripted([True] * 3, 3, lambda: next(done))
    assert len(list(video.shots())) == 2
    assert (video.read, video.lost) == (2, 1)


def test_what_was_not_read_yet_is_not_lost() -> None:
    with VideoFile(CASES / "damaged-middle.mp4") as video:
        for shot in video.shots():
            if shot.index == 30:
                break
    assert video.count == 60
    assert 0 < video.lost < 10
