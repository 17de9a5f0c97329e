"""Every layout that is served, on networks of the real structure, against plain NumPy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from service.models.convert.serving_graph import to_bytes, to_serving_graph
from service.pipeline.batcher import golden_frame
from tests.service.models.reference import assert_best_candidates, every_candidate, network_input, run_network
from tests.service.models.yolo import TINY, YOLOV5N, YOLOV5S, Array, YoloSpec, build_yolo

V8 = replace(TINY, layout="yolov8")
SPECS = [
    pytest.param(TINY, id="v5"),
    pytest.param(replace(TINY, batch=2), id="v5 static batch"),
    pytest.param(replace(TINY, size=None), id="v5 free size"),
    pytest.param(V8, id="v8"),
    pytest.param(replace(V8, transposed=True), id="v8 turned"),
    pytest.param(replace(V8, batch=2), id="v8 static batch"),
    pytest.param(replace(V8, size=None), id="v8 free size"),
]


def serve(network: onnx.ModelProto, frames: Array, classes: int) -> Array:
    served = to_serving_graph(
        network,
        name="tested",
        input_size=(frames.shape[1], frames.shape[2]),
        names=[f"class_{index}" for index in range(classes)],
        scale=1 / 255,
        source_sha256="5" * 64,
    )
    return run_network(to_bytes(served), frames)


def reference(spec: YoloSpec, frames: Array) -> Array:
    output = run_network(build_yolo(spec), network_input(frames, np.float16 if spec.half else np.float32))
    return every_candidate(output, spec.layout, transposed=spec.transposed)


def two_frames(size: tuple[int, int]) -> Array:
    frame = golden_frame(size)
    return np.concatenate((frame, 255 - frame[:, ::-1]))


@pytest.mark.parametrize("spec", SPECS)
def test_candidates_equal_numpy(spec: YoloSpec) -> None:
    frames = two_frames((64, 96))
    expected = reference(spec, frames)

    actual = serve(build_yolo(spec), frames, spec.classes)

    assert_best_candidates(actual, expected, count=min(300, expected.shape[1]))
    assert len(np.unique(actual[..., 5])) > 1, "the test needs several classes among the best"


@pytest.mark.parametrize("layout", ["yolov5", "yolov8"])
def test_half_precision_candidates_equal_numpy_within_its_rounding(layout: str) -> None:
    spec = replace(TINY, half=True, layout=layout)
    frames = two_frames((64, 96))
    expected = reference(spec, frames)

    actual = serve(build_yolo(spec), frames, spec.classes)

    assert_best_candidates(actual, expected, count=min(300, expected.shape[1]), box_px=1, score=0.005)


@pytest.mark.parametrize("spec", [pytest.param(YOLOV5N, id="n"), pytest.param(YOLOV5S, id="s")])
def test_networks_of_published_size_equal_numpy(spec: YoloSpec) -> None:
    frames = golden_frame((640, 640))
    expected = reference(spec, frames)

    actual = serve(build_yolo(spec), frames, spec.classes)

    assert expected.shape == (1, 25200, 6)
    assert_best_candidates(actual, expected, count=300)


class Noise(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self) -> None:
        self._left = list(np.random.default_rng(1).random((3, 1, 3, 64, 96), np.float32))

    def get_next(self) -> dict[str, Array] | None:
        return {"images": self._left.pop()} if self._left else None


def test_quantised_candidates_equal_numpy(tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    quantize_static(build_yolo(TINY), path, Noise(), quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"])
    network, frames = onnx.load(path), two_frames((64, 96))
    expected = every_candidate(run_network(network, network_input(frames)), "yolov5")

    actual = serve(network, frames, TINY.classes)

    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in network.graph.node}
    assert_best_candidates(actual, expected, count=300)
