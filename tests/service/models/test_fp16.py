"""Half precision: what is converted, what is not, and that ONNX Runtime finds the same boxes with both."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from framefleet.wire.errors import ModelError
from service.models.build.__main__ import calibration_frames
from service.models.build.gate import compare
from service.models.convert.fp16 import is_half, is_quantised, to_half
from service.models.convert.serving_graph import to_bytes
from tests.service.models.graphs import serving
from tests.service.models.yolo import TINY, build_yolo

LAYOUTS = [TINY, replace(TINY, layout="yolov8")]


def run(model: onnx.ModelProto, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(to_bytes(model), options, providers=["CPUExecutionProvider"])
    found: npt.NDArray[np.float32] = session.run(None, {"frames": frames})[0]
    return found


def frames(count: int) -> npt.NDArray[np.uint8]:
    coarse = np.random.default_rng(5).integers(0, 256, (count, 4, 6, 3), np.uint8)
    return coarse.repeat(16, axis=1).repeat(16, axis=2)


@pytest.fixture(scope="module", params=LAYOUTS, ids=lambda spec: spec.layout)
def graph(request: pytest.FixtureRequest) -> onnx.ModelProto:
    return serving(build_yolo(request.param), request.param)


def test_boxes_stay_those_of_full_precision(graph: onnx.ModelProto) -> None:
    batch = frames(4)
    agreement = compare(run(graph, batch), run(to_half(graph), batch))
    assert agreement.boxes > 20
    assert agreement.share > 0.95, agreement


def test_the_network_is_half_and_everything_behind_it_full(graph: onnx.ModelProto) -> None:
    half = to_half(graph)
    typed = onnx.shape_inference.infer_shapes(half, data_prop=True)
    types = {entry.name: entry.type.tensor_type.elem_type for entry in typed.graph.value_info}
    types |= {weight.name: weight.data_type for weight in half.graph.initializer}
    kinds = Counter((node.op_type, types[node.output[0]]) for node in half.graph.node if node.output[0] in types)
    convolutions = {element: count for (kind, element), count in kinds.items() if kind == "Conv"}
    in_head = sum(node.op_type == "Softmax" for node in graph.graph.node)  # v8 decodes each level's edges with one
    assert convolutions.get(TensorProto.FLOAT, 0) == in_head
    assert convolutions[TensorProto.FLOAT16] == len([n for n in graph.graph.node if n.op_type == "Conv"]) - in_head
    # No tensor of the head goes through FP16: the seam is crossed once per level and branch.
    casts_down = [n for n in half.graph.node if n.op_type == "Cast" and n.attribute[0].i == TensorProto.FLOAT16]
    assert [node.input[0] for node in casts_down] == ["frames"]


def test_ends_and_metadata_stay(graph: onnx.ModelProto) -> None:
    half = to_half(graph)
    assert list(half.graph.input) == list(graph.graph.input)
    assert list(half.graph.output) == list(graph.graph.output)
    assert list(half.metadata_props) == list(graph.metadata_props)
    assert not is_half(graph) and is_half(half)


def test_a_half_graph_is_left_as_it_is() -> None:
    graph = serving(build_yolo(replace(TINY, half=True)))
    assert is_half(graph) and to_half(graph) is graph


def test_the_same_graph_gives_the_same_bytes_and_is_not_changed(graph: onnx.ModelProto) -> None:
    before = to_bytes(graph)
    assert to_bytes(to_half(graph)) == to_bytes(to_half(graph))
    assert to_bytes(graph) == before


def test_the_default_model_keeps_its_boxes_at_half_the_size(default_model: Path, sample_video: Path) -> None:
    graph = onnx.load(str(default_model))
    half = to_half(graph)
    batch = calibration_frames(sample_video, (320, 320), 4)
    agreement = compare(run(graph, batch), run(half, batch))
    assert agreement.boxes == agreement.matched == 8
    assert len(to_bytes(half)) < 0.6 * len(to_bytes(graph))


def test_a_graph_without_weights_is_refused() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [])
    with pytest.raises(ModelError, match="use --precision fp32"):
        to_half(helper.make_model(graph))


@pytest.mark.parametrize(
    ("kinds", "expected"), [(["QuantizeLinear"], False), (["QuantizeLinear", "DequantizeLinear"], True)]
)
def test_quantised_means_both_nodes(kinds: list[str], expected: bool) -> None:
    nodes = [helper.make_node(kind, ["x", "s"], [kind]) for kind in kinds]
    assert is_quantised(helper.make_model(helper.make_graph(nodes, "g", [], []))) is expected
