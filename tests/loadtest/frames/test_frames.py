"""A video becomes JPEG bodies."""

from pathlib import Path

import numpy as np
import pytest

from loadtest.errors import VideoError
from loadtest.frames.frames import CutSettings, cut, decode, encode


def test_sample_video_gives_all_its_frames(sample_video: Path) -> None:
    frames = cut(sample_video, CutSettings())
    assert (len(frames.jpegs), frames.width, frames.height) == (120, 176, 144)
    assert 29 < frames.fps < 31
    assert all(jpeg.startswith(b"\xff\xd8") and jpeg.endswith(b"\xff\xd9") for jpeg in frames.jpegs)


def test_same_video_and_settings_give_the_same_bytes(sample_video: Path) -> None:
    settings = CutSettings(limit=10)
    assert cut(sample_video, settings).digest == cut(sample_video, settings).digest


def test_other_quality_gives_other_bytes(sample_video: Path) -> None:
    rough, fine = (cut(sample_video, CutSettings(quality=quality, limit=5)) for quality in (40, 95))
    assert rough.digest != fine.digest
    assert sum(map(len, rough.jpegs)) < sum(map(len, fine.jpegs))


def test_every_third_frame_is_the_third_frame(sample_video: Path) -> None:
    all_frames = cut(sample_video, CutSettings(limit=10))
    some = cut(sample_video, CutSettings(every=3, limit=4))
    assert some.jpegs == all_frames.jpegs[::3]
    assert some.fps == pytest.approx(all_frames.fps / 3)


def test_no_limit_takes_the_whole_video(sample_video: Path) -> None:
    assert len(cut(sample_video, CutSettings(limit=0, every=10)).jpegs) == 12


@pytest.mark.parametrize(("width", "height"), [(88, 72), (352, 288)], ids=["smaller", "larger"])
def test_width_keeps_the_shape(sample_video: Path, width: int, height: int) -> None:
    frames = cut(sample_video, CutSettings(width=width, limit=1))
    assert (frames.width, frames.height) == (width, height)
    assert frames.picture(0).shape == (height, width, 3)


def test_a_frame_survives_encoding() -> None:
    picture = np.full((48, 64, 3), (200, 100, 50), dtype=np.uint8)
    assert np.abs(decode(encode(picture, 95)).astype(int) - picture).max() <= 6


def test_a_picture_too_high_for_jpeg_is_named() -> None:
    with pytest.raises(VideoError, match=r"shape \(65501, 1, 3\) does not encode as JPEG; give a smaller --width"):
        encode(np.zeros((65501, 1, 3), dtype=np.uint8), 90)


def test_a_missing_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"gone\.mp4: no such video; .*--video"):
        cut(tmp_path / "gone.mp4", CutSettings())


@pytest.mark.parametrize("content", [b"", b"not a video\n" * 100], ids=["empty", "text"])
def test_an_unreadable_video_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"broken\.mp4: OpenCV reads no frame of it; convert"):
        cut(path, CutSettings())


def test_frames_behind_damage_are_taken_and_the_lost_ones_counted(repo_root: Path) -> None:
    frames = cut(repo_root / "tests/cases/damaged-middle.mp4", CutSettings())
    assert (len(frames.jpegs), frames.lost) == (53, 7)
    assert "damaged-middle.mp4: damaged, 7 of its frames could not be read" in frames.damage


def test_what_lies_behind_the_last_frame_that_is_taken_is_not_lost(repo_root: Path) -> None:
    frames = cut(repo_root / "tests/cases/damaged-middle.mp4", CutSettings(limit=10))
    assert (len(frames.jpegs), frames.lost, frames.damage) == (10, 0, "")
