from pathlib import Path

import pytest

from framefleet.video import UnreadableVideo, VideoFile

CASES = Path("tests/cases")


def test_every_frame_of_a_whole_clip_is_read_in_order(sample_video: Path) -> None:
    with VideoFile(sample_video) as video:
        shots = list(video.shots())

    assert (video.count, video.read, video.lost) == (120, 120, 0)
    assert video.fps == pytest.approx(29.97, abs=0.01)
    assert [shot.index for shot in shots] == list(range(120))
    assert shots[0].picture.shape == (144, 176, 3)
    assert [shot.taken_s for shot in shots] == pytest.approx([number / video.fps for number in range(120)], abs=0.002)


def test_reading_goes_on_behind_damage_and_counts_what_is_lost() -> None:
    with VideoFile(CASES / "damaged-middle.mp4") as video:
        times_s = [shot.taken_s for shot in video.shots()]

    assert (video.count, video.read, video.lost, len(times_s)) == (60, 53, 7, 53)
    assert times_s == sorted(times_s) and times_s[-1] == pytest.approx(59 / 25)


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
