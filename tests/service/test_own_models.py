"""From an export to an answer: `make model`, then a real instance, against the untouched network in plain NumPy."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests

from service.models.__main__ import main
from service.pipeline.batcher import golden_frame
from tests.instance import running_instance
from tests.service.models.reference import every_candidate, network_input, run_network
from tests.service.models.yolo import YOLOV5N, YOLOV5S, Array, YoloSpec, build_yolo

NAMES = tuple(f"T{index:02}" for index in range(27))
BOXES = 20
SPECS = [
    pytest.param(replace(YOLOV5N, classes=27), id="v5 n"),
    pytest.param(replace(YOLOV5S, classes=27, batch=1), id="v5 s of a fixed batch"),
    pytest.param(replace(YOLOV5N, classes=27, layout="yolov8", size=None), id="v8 n of a free size"),
    pytest.param(replace(YOLOV5N, classes=27, half=True), id="v5 n in half precision"),
]


def best(network_output: Array, layout: str) -> tuple[list[tuple[str, Array]], float]:
    """The best boxes, and a threshold in the middle of the gap behind them."""
    (rows,) = every_candidate(network_output, layout)
    rows = rows[np.argsort(-rows[:, 4])]
    gaps = rows[BOXES : 2 * BOXES, 4] - rows[BOXES + 1 : 2 * BOXES + 1, 4]
    count = BOXES + int(gaps.argmax()) + 1
    return [(NAMES[int(row[5])], row[:5]) for row in rows[:count]], float(rows[count - 1 : count + 1, 4].mean())


@pytest.mark.parametrize("spec", SPECS)
def test_export_is_served_with_the_untouched_networks_boxes(
    spec: YoloSpec, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    (tmp_path / "own.onnx").write_bytes(build_yolo(spec).SerializeToString())
    options = ["--names", ",".join(NAMES), *(["--size", "640"] if spec.size is None else [])]
    assert main([str(tmp_path / "own.onnx"), "--var", str(tmp_path), *options]) == 0
    frame = golden_frame((640, 640))
    feed = network_input(frame, np.float16 if spec.half else np.float32)
    expected, conf = best(run_network(build_yolo(spec), feed), spec.layout)
    tolerance_px, tolerance = (1.5, 0.01) if spec.half else (0.1, 1e-3)

    model, cache = tmp_path / "models/own.onnx", tmp_path / "cache"
    with running_instance(free_port(), model, tmp_path / "log", threads=2, cache=cache) as instance:
        status = requests.get(f"{instance.url}/status", timeout=30).json()
        answer = requests.post(
            f"{instance.url}/v1/detect?conf={conf}&iou=1",  # no box overlaps another by more
            data=cv2.imencode(".png", frame[0])[1].tobytes(),
            timeout=60,
        ).json()

    assert status["model"] == {"name": "own", "input": [640, 640], "classes": list(NAMES)}
    assert status["engine"]["kind"] == "onnxruntime"
    assert (status["engine"]["device"], status["engine"]["precision"]) == ("cpu", "fp16" if spec.half else "fp32")
    found = answer["detections"]
    assert abs(len(found) - len(expected)) <= (2 if spec.half else 0)
    for box in found:
        alike = [row for name, row in expected if name == box["label"] and abs(row[4] - box["score"]) <= tolerance]
        assert any(np.abs(row[:4].clip(0, 640) - box["box"]).max() <= tolerance_px for row in alike), box
