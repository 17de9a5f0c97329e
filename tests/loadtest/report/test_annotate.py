"""Detections are drawn where they are."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from framefleet.wire.answers import Detection
from loadtest.errors import RunError
from loadtest.frames.frames import CutSettings, cut
from loadtest.report import annotate
from loadtest.report.annotate import COLOURS, draw, telling_frame, write_clip
from tests.loadtest.builders import detection


@pytest.mark.parametrize(
    ("size", "drawn"),
    [((176, 144), (528, 432)), ((641, 363), (640, 364)), ((1920, 1080), (960, 540))],
    ids=["small is enlarged", "odd becomes even", "huge is reduced"],
)
def test_size_of_a_drawn_picture(size: tuple[int, int], drawn: tuple[int, int]) -> None:
    picture = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    assert draw(picture, ()).shape == (drawn[1], drawn[0], 3)


def test_a_box_is_drawn_at_its_scaled_place_and_the_frame_is_untouched() -> None:
    picture = np.zeros((144, 176, 3), dtype=np.uint8)
    drawn = draw(picture, [Detection("face", 0, 0.9, (60.0, 50.0, 106.0, 111.0))])
    assert tuple(drawn[3 * 80, 3 * 60]) == COLOURS[0]
    assert tuple(drawn[3 * 80, 3 * 80]) == (0, 0, 0)
    assert not picture.any()


def test_a_label_at_the_top_edge_stays_inside() -> None:
    drawn = draw(np.zeros((144, 176, 3), dtype=np.uint8), [Detection("face", 0, 0.9, (60.0, 0.0, 106.0, 111.0))])
    assert np.all(drawn == COLOURS[0], axis=2)[4:20].any()


def test_the_telling_frame_has_the_most_detections_then_the_surest() -> None:
    one, two, sure = (detection(0.5),), (detection(0.4), detection(0.5)), (detection(0.9), detection(0.8))
    assert telling_frame([one, two, sure, one]) == 2
    assert telling_frame([(), ()]) == 0


def test_the_clip_can_be_played_back(sample_video: Path, tmp_path: Path) -> None:
    frames = cut(sample_video, CutSettings(limit=8))
    steps: list[int] = []
    clip = write_clip(frames.jpegs, [(detection(),)] * 8, frames.fps, tmp_path / "annotated", lambda: steps.append(1))
    assert (clip.path.name, clip.media_type, clip.note) == ("annotated.webm", "video/webm", "")
    played = cut(clip.path, CutSettings())
    assert (len(played.jpegs), played.width, played.height) == (8, 528, 432)
    assert len(steps) == 8


def test_without_webm_another_format_is_taken_and_said(
    sample_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = cut(sample_video, CutSettings(limit=2))
    monkeypatch.setattr(annotate, "CODECS", (("????", ".webm", "video/webm", ""), annotate.CODECS[1]))
    clip = write_clip(frames.jpegs, [()] * 2, 25.0, tmp_path / "annotated")
    assert clip.path.name == "annotated.mp4"
    assert "no WebM" in clip.note
    assert cv2.VideoCapture(str(clip.path)).read()[0]


def test_an_unwritable_folder_is_named(sample_video: Path, tmp_path: Path) -> None:
    frames = cut(sample_video, CutSettings(limit=1))
    with pytest.raises(RunError, match="neither WebM nor MP4"):
        write_clip(frames.jpegs, [()], 25.0, tmp_path / "gone" / "annotated")
