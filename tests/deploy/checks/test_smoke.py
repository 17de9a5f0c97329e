import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deploy.checks.smoke import ALIKE, first_frame, read_detect
from deploy.errors import StartError
from framefleet.wire.answers import Detection
from framefleet.wire.reading import parse_first_server
from framefleet.wire.same import same

FACE = {"label": "face", "class_id": 0, "score": 0.92, "box": [66.5, 33.3, 112.3, 95.4]}
DETECT: dict[str, Any] = {
    "detections": [FACE],
    "image": {"width": 176, "height": 144},
    "model": {"name": "centerface-320", "input": [320, 320]},
    "timings_ms": {"decode": 0.5, "queue": 0.1, "infer": 30.1, "post": 0.2},
    "request_id": "abc",
}


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    answer = copy.deepcopy(DETECT)
    change(answer)
    return answer


def test_a_good_detect_answer_is_read() -> None:
    assert read_detect(json.dumps(DETECT).encode()) == (Detection("face", 0, 0.92, (66.5, 33.3, 112.3, 95.4)),)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([], id="no object"),
        pytest.param(changed(lambda a: a.pop("image")), id="no image"),
        pytest.param(changed(lambda a: a.pop("request_id")), id="no request id"),
        pytest.param(changed(lambda a: a["timings_ms"].pop("queue")), id="no queue time"),
        pytest.param(changed(lambda a: a["detections"][0].update(label=7)), id="label is no text"),
        pytest.param(changed(lambda a: a["detections"][0].update(box=[1, 2, 3])), id="three corners"),
        pytest.param(changed(lambda a: a["detections"][0].update(box=[1, 2, 177, 4])), id="outside the picture"),
        pytest.param(changed(lambda a: a["detections"][0].update(box=[9, 2, 3, 4])), id="right of itself"),
        pytest.param(changed(lambda a: a["detections"][0].update(score=1.1)), id="score over 1"),
        pytest.param(changed(lambda a: a.update(detections=None)), id="no list"),
    ],
)
def test_a_detect_answer_off_the_schema_is_refused(answer: Any) -> None:
    with pytest.raises(ValueError):
        read_detect(json.dumps(answer).encode())


def test_a_good_predict_answer_is_read() -> None:
    read = parse_first_server(b'[{"0": [66, 33, 112, 95, 0.92]}]')
    assert read == (Detection("0", 0, 0.92, (66.0, 33.0, 112.0, 95.0)),)
    assert parse_first_server(b"[]") == ()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({}, id="no list"),
        pytest.param([[1, 2, 3, 4, 0.5]], id="no object"),
        pytest.param([{"0": [1, 2, 3, 4]}], id="no score"),
        pytest.param([{"face": [1, 2, 3, 4, 0.5]}], id="key is no class id"),
        pytest.param([{"0": [1, 2, 3, 4, 0.5], "1": [1, 2, 3, 4, 0.5]}], id="two keys"),
        pytest.param([{}], id="no key"),
    ],
)
def test_a_predict_answer_off_the_schema_is_refused(answer: Any) -> None:
    with pytest.raises(ValueError):
        parse_first_server(json.dumps(answer).encode())


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param(Detection("face", 0, 0.895, (10.4, 20, 30, 40)), True, id="last digits"),
        pytest.param(Detection("face", 1, 0.9, (10, 20, 30, 40)), False, id="other class"),
        pytest.param(Detection("face", 0, 0.9, (12, 20, 30, 40)), False, id="moved"),
        pytest.param(Detection("face", 0, 0.8, (10, 20, 30, 40)), False, id="other score"),
    ],
)
def test_answers_are_the_same_but_for_the_last_digits(box: Detection, expected: bool) -> None:
    reference = Detection("face", 0, 0.9, (10, 20, 30, 40))
    assert same([box], [reference], ALIKE) is expected


def test_a_missing_or_additional_box_is_a_difference() -> None:
    box = Detection("face", 0, 0.9, (10, 20, 30, 40))
    assert not same([], [box], ALIKE)
    assert not same([box, box], [box], ALIKE)


def test_the_first_frame_of_the_sample_video_is_a_jpeg_of_its_size(sample_video: Path) -> None:
    picture = first_frame(sample_video)
    assert picture.startswith(b"\xff\xd8\xff")
    decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None and decoded.shape == (144, 176, 3)


def test_a_missing_video_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="missing or no video; run `make setup`, or pass --image PICTURE"):
        first_frame(tmp_path / "none.mp4")
