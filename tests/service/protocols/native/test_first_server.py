"""The first server's clients keep working, unchanged: nothing but requests, cv2 and base64."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests

from service.pipeline.boxes import Boxes
from service.protocols.native.routes import first_server_answer
from tests.instance import running_instance


def old_client(url: str, frame: np.ndarray) -> list[dict[str, list[float]]]:
    """What the first video client does for each frame."""
    height, width = frame.shape[:2]
    image = base64.b64encode(frame.tobytes()).decode()
    answer = requests.post(f"{url}/predict", json.dumps({"height": height, "width": width, "image": image}), timeout=30)
    found: list[dict[str, list[float]]] = json.loads(answer.text)
    return found


def test_an_old_client_finds_the_face_in_the_sample_video(
    default_model: Path, sample_video: Path, free_port: Callable[[], int], tmp_path: Path
) -> None:
    _, frame = cv2.VideoCapture(str(sample_video)).read()
    with running_instance(free_port(), default_model, tmp_path / "log") as instance:
        (detection,) = old_client(instance.url, frame)
        nothing = old_client(instance.url, np.full((144, 176, 3), 40, np.uint8))
    assert nothing == []
    ((class_id, (x1, y1, x2, y2, score)),) = detection.items()
    assert class_id == "0"
    assert [type(value) for value in (x1, y1, x2, y2)] == [int] * 4
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == (pytest.approx(89, abs=3), pytest.approx(64, abs=3))
    assert (x2 - x1, y2 - y1) == (pytest.approx(46, abs=3), pytest.approx(62, abs=3))
    assert score == pytest.approx(0.92, abs=0.02)


def test_the_answer_is_rounded_as_python_rounds_and_not_clipped() -> None:
    boxes = Boxes(
        np.array([[0.5, 1.5, 2.5, -3.4]], np.float32), np.array([0.345], np.float32), np.array([26], np.int64)
    )
    assert first_server_answer(boxes) == [{"26": [0, 2, 2, -3, 0.34]}]
