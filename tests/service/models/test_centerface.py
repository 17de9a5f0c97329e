from pathlib import Path
from typing import Any
from zipfile import ZipFile

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from framefleet.wire.errors import ModelError
from service.models.convert.centerface import to_yolov5_layout
from service.models.convert.serving_graph import to_bytes, to_serving_graph
from service.models.fetch import NETWORK

SIDE = 320
Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def network(wheel_folder: Path) -> onnx.ModelProto:
    with ZipFile(wheel_folder / NETWORK.wheel.filename) as wheel:
        return onnx.load_model_from_string(wheel.read(NETWORK.path))


@pytest.fixture(scope="module")
def video_frames(sample_video: Path) -> list[Array]:
    """Every 30th frame."""
    video = cv2.VideoCapture(str(sample_video))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1])
    video.release()
    return frames[::30]


def letterbox(frame: Array) -> tuple[Array, float, tuple[float, float]]:
    height, width = frame.shape[:2]
    scale = min(SIDE / width, SIDE / height)
    size = int(width * scale), int(height * scale)
    left, top = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    canvas = np.full((SIDE, SIDE, 3), 128, np.uint8)
    canvas[top : top + size[1], left : left + size[0]] = cv2.resize(frame, size)
    return canvas, scale, ((SIDE - width * scale) / 2, (SIDE - height * scale) / 2)


def run_untouched(network: onnx.ModelProto, canvas: Array) -> list[Array]:
    """The published file declares 10x3x32x32; only its declared shapes are loosened here."""
    loose = onnx.ModelProto()
    loose.CopyFrom(network)
    for entry in (*loose.graph.input[:1], *loose.graph.output):
        for axis, dim in enumerate(entry.type.tensor_type.shape.dim):
            dim.dim_param = f"{entry.name}_{axis}"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it warns about each of its weights
    session = onnxruntime.InferenceSession(loose.SerializeToString(), options)
    pixels = canvas[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)
    outputs: list[Array] = session.run(["537", "538", "539"], {"input.1": pixels})
    return outputs


def decode(heat: Array, log_size: Array, offset: Array, threshold: float) -> Array:
    """Candidates above a threshold in plain loops over the maps, highest score first."""
    heat, log_size, offset = heat[0, 0], log_size[0], offset[0]
    found = []
    for y, x in np.argwhere(heat > threshold):
        if heat[y, x] < heat[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].max():
            continue
        centre_y, centre_x = (y + offset[0, y, x] + 0.5) * 4, (x + offset[1, y, x] + 0.5) * 4
        height, width = np.exp(log_size[:, y, x]) * 4
        corners = (centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2)
        found.append((*corners, heat[y, x], 0.0))
    return np.array(sorted(found, key=lambda row: -row[4]), np.float32)


def serve(network: onnx.ModelProto, name: str = "centerface-320") -> bytes:
    rows = to_yolov5_layout(network, (SIDE, SIDE))
    graph = to_serving_graph(
        rows, name=name, input_size=(SIDE, SIDE), names=["face"], scale=1.0, source_sha256=NETWORK.sha256
    )
    return to_bytes(graph)


def test_serving_graph_equals_numpy_on_the_untouched_maps(network: onnx.ModelProto, video_frames: list[Array]) -> None:
    canvases = [letterbox(frame)[0] for frame in video_frames]

    served = onnxruntime.InferenceSession(serve(network)).run(None, {"frames": np.stack(canvases)})[0]

    assert served.shape == (len(canvases), 300, 6)
    for canvas, candidates in zip(canvases, served, strict=True):
        expected = decode(*run_untouched(network, canvas), threshold=0.05)
        actual = candidates[candidates[:, 4] > 0.05]
        assert len(expected) > 0
        np.testing.assert_allclose(actual[:, :4], expected[:, :4], rtol=0, atol=0.01)
        np.testing.assert_allclose(actual[:, 4:], expected[:, 4:], rtol=0, atol=1e-5)


def test_first_frame_of_the_sample_video_shows_one_face(default_model: Path, video_frames: list[Array]) -> None:
    canvas, scale, (left, top) = letterbox(video_frames[0])

    (candidates,) = onnxruntime.InferenceSession(default_model).run(None, {"frames": canvas[None]})[0]

    (face,) = candidates[candidates[:, 4] > 0.35]
    x1, x2 = (face[[0, 2]] - left) / scale
    y1, y2 = (face[[1, 3]] - top) / scale
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((89, 65), abs=3)
    assert (x2 - x1, y2 - y1) == pytest.approx((46, 61), abs=3)
    assert face[4] == pytest.approx(0.92, abs=0.01)


def test_same_network_gives_the_same_bytes(network: onnx.ModelProto) -> None:
    assert serve(network) == serve(network)


@pytest.mark.parametrize("size", [(300, 320), (320, 16), (0, 0)], ids=str)
def test_size_the_network_cannot_take_is_refused(network: onnx.ModelProto, size: tuple[int, int]) -> None:
    with pytest.raises(ModelError, match="needs multiples of 32, such as 320"):
        to_yolov5_layout(network, size)


def test_another_network_is_refused(network: onnx.ModelProto) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(network)
    del other.graph.output[0]

    with pytest.raises(ModelError, match="outputs: 537 missing; this is not the CenterFace network"):
        to_yolov5_layout(other, (SIDE, SIDE))
