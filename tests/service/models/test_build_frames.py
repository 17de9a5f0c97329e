from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from framefleet.wire.errors import ModelError
from service.models.build.__main__ import calibration_frames
from service.pictures.image import PADDING_VALUE


def folder_of_pictures(folder: Path, count: int) -> Path:
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:02}.png"), np.full((20, 40, 3), 10 * number, np.uint8))
    return folder


def test_frames_are_letterboxed_and_spread_over_the_source(tmp_path: Path) -> None:
    frames = calibration_frames(folder_of_pictures(tmp_path, 12), (64, 64), 4)
    assert frames.shape == (4, 64, 64, 3) and frames.dtype == np.uint8
    assert frames[:, 32, 32, 0].tolist() == [0, 30, 60, 90]
    assert (frames[:, :8] == PADDING_VALUE).all()


def test_a_short_source_gives_what_it_has(tmp_path: Path) -> None:
    assert len(calibration_frames(folder_of_pictures(tmp_path, 3), (64, 64), 8)) == 3


def test_a_video_is_sampled(sample_video: Path) -> None:
    frames = calibration_frames(sample_video, (96, 96), 5)
    assert len(frames) == 5
    assert all(not np.array_equal(ours, next_one) for ours, next_one in pairwise(frames))


def test_an_empty_source_is_refused_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="pass --frames with a video or a folder of pictures"):
        calibration_frames(tmp_path, (64, 64), 4)
