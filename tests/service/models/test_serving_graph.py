import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from framefleet.wire.errors import ModelError
from service.models.convert.serving_graph import to_bytes, to_serving_graph

SIZE = (64, 96)
NAMES = ["T01", "T02_1", "T02_2", "T26"]
Array = npt.NDArray[Any]
YoloNetwork = Callable[..., onnx.ModelProto]


def serve(model: onnx.ModelProto, **changes: Any) -> onnx.ModelProto:
    arguments: dict[str, Any] = {
        "name": "small",
        "input_size": SIZE,
        "names": NAMES,
        "scale": 1 / 255,
        "source_sha256": "5" * 64,
    }
    return to_serving_graph(model, **{**arguments, **changes})


def run(model: onnx.ModelProto, feed: Array) -> Array:
    session = onnxruntime.InferenceSession(to_bytes(model), providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {session.get_inputs()[0].name: feed})[0]
    return result


def frames(count: int) -> Array:
    return np.random.default_rng(count).integers(0, 256, (count, *SIZE, 3), np.uint8)


def to_network_input(batch: Array, dtype: Any = np.float32) -> Array:
    rgb = batch[..., ::-1].transpose(0, 3, 1, 2).astype(dtype)
    return np.ascontiguousarray(rgb * dtype(1 / 255))


def reference_candidates(rows: Array, count: int) -> Array:
    """What the serving graph must give, from the untouched network's output, in plain NumPy."""
    rows = rows.astype(np.float32)
    scores = rows[..., 4] * rows[..., 5:].max(axis=-1)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    rows = np.take_along_axis(rows, best[..., None], axis=1)
    half = rows[..., 2:4] / 2
    parts = [
        rows[..., :2] - half,
        rows[..., :2] + half,
        np.take_along_axis(scores, best, axis=1)[..., None],
        rows[..., 5:].argmax(axis=-1)[..., None],
    ]
    return np.concatenate(parts, axis=-1)


def assert_same_candidates(expected: Array, actual: Array) -> None:
    assert expected.shape == actual.shape
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual[..., :4], expected[..., :4], rtol=0, atol=1e-3)
    np.testing.assert_allclose(actual[..., 4], expected[..., 4], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(actual[..., 5], expected[..., 5])


@pytest.mark.parametrize("opset", [11, 13, 17, 20])
@pytest.mark.parametrize("count", [1, 3])
def test_candidates_equal_the_untouched_network_with_numpy(yolo_network: YoloNetwork, count: int, opset: int) -> None:
    network = yolo_network(opset=opset)
    batch = frames(count)

    actual = run(serve(network, top_k=50), batch)

    expected = reference_candidates(run(network, to_network_input(batch)), 50)
    assert_same_candidates(expected, actual)
    assert len(np.unique(actual[..., 5])) > 1, "the test needs several classes among the best rows"
    assert np.all(np.diff(actual[..., 4]) <= 0)


def test_half_precision_network_takes_and_gives_the_same_types(yolo_network: YoloNetwork) -> None:
    network = yolo_network(element=TensorProto.FLOAT16)
    batch = frames(2)

    actual = run(serve(network, top_k=50), batch)

    rows = run(network, to_network_input(batch, np.float16))
    scores = reference_candidates(rows, 50)[..., 4]
    np.testing.assert_allclose(actual[..., 4], scores, rtol=0, atol=2e-3)


def test_fewer_anchors_than_top_k_give_every_anchor(yolo_network: YoloNetwork) -> None:
    network = yolo_network(size=SIZE)
    batch = frames(1)

    actual = run(serve(network, top_k=1000), batch)

    anchors = 3 * 8 * 12
    assert actual.shape == (1, anchors, 6)
    assert_same_candidates(reference_candidates(run(network, to_network_input(batch)), anchors), actual)


def test_ends_have_the_documented_names_shapes_and_types(yolo_network: YoloNetwork) -> None:
    session = onnxruntime.InferenceSession(to_bytes(serve(yolo_network(), top_k=20)))

    (taken,), (given,) = session.get_inputs(), session.get_outputs()

    assert (taken.name, taken.type, taken.shape) == ("frames", "tensor(uint8)", ["n", 64, 96, 3])
    assert (given.name, given.type, given.shape) == ("candidates", "tensor(float)", ["n", 20, 6])


def test_batch_fixed_by_the_export_stays_fixed(yolo_network: YoloNetwork) -> None:
    session = onnxruntime.InferenceSession(to_bytes(serve(yolo_network(batch=1), top_k=20)))

    assert session.get_inputs()[0].shape == [1, 64, 96, 3]


def test_metadata_says_what_is_served(yolo_network: YoloNetwork) -> None:
    network = yolo_network()
    helper.set_model_props(network, {"stride": "32", "author": "someone"})

    properties = {entry.key: entry.value for entry in serve(network).metadata_props}

    assert json.loads(properties.pop("framefleet.names")) == NAMES
    assert properties == {
        "framefleet.serving": "1",
        "framefleet.name": "small",
        "framefleet.source_sha256": "5" * 64,
        "framefleet.input": "64x96",
        "framefleet.precision": "fp32",
    }


def test_same_network_gives_the_same_bytes(yolo_network: YoloNetwork) -> None:
    network = yolo_network(opset=12)
    untouched = to_bytes(network)

    first, second = to_bytes(serve(network)), to_bytes(serve(network))

    assert first == second
    assert to_bytes(network) == untouched, "the caller's network must not change"


def test_extra_feature_maps_are_ignored(yolo_network: YoloNetwork) -> None:
    network = yolo_network()
    for maps in ("maps", "split", "turned"):
        network.graph.output.append(helper.make_tensor_value_info(maps, TensorProto.FLOAT, None))
    batch = frames(1)

    actual = run(serve(network, top_k=10), batch)

    assert_same_candidates(run(serve(yolo_network(), top_k=10), batch), actual)


def test_weights_listed_as_inputs_are_no_inputs(yolo_network: YoloNetwork) -> None:
    network = yolo_network()
    weight = next(entry for entry in network.graph.initializer if entry.name == "weight")
    network.graph.input.append(helper.make_tensor_value_info("weight", weight.data_type, weight.dims))

    served = serve(network)

    assert [entry.name for entry in served.graph.input] == ["frames"]


def _two_inputs(network: onnx.ModelProto) -> None:
    network.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))


def _integer_input(network: onnx.ModelProto) -> None:
    network.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8


def _flat_input(network: onnx.ModelProto) -> None:
    del network.graph.input[0].type.tensor_type.shape.dim[3]


def _maps_as_output(network: onnx.ModelProto) -> None:
    network.graph.output[0].name = "maps"


def _already_served(network: onnx.ModelProto) -> None:
    network.CopyFrom(serve(network))


def _unknown_operator(network: onnx.ModelProto) -> None:
    network.opset_import[0].version = 12
    network.graph.node[4].op_type = "NoSuchOperator"


REFUSALS = [
    pytest.param(_two_inputs, {}, r"inputs: found 2 \(images, mask\), expected one", id="two inputs"),
    pytest.param(_integer_input, {}, "element type INT8, expected FLOAT or FLOAT16", id="integers"),
    pytest.param(_flat_input, {}, r"input 'images': 3 axes, expected 4", id="input rank"),
    pytest.param(_maps_as_output, {}, r"outputs: 'maps' has 4 axes; .*without NMS", id="output rank"),
    pytest.param(_already_served, {}, "a serving graph already; start from", id="served already"),
    pytest.param(_unknown_operator, {}, "opset 12: .*export the model with opset 17", id="unknown operator"),
    pytest.param(None, {"names": NAMES[:3]}, r"\[n, 288, 9\] does not fit 3 class names: .*--names", id="names"),
    pytest.param(None, {"names": ["a", "b", "a", "c"]}, "give every class its own name", id="repeated names"),
    pytest.param(None, {"input_size": (96, 96)}, "axis 2 is 64, expected 96; use the size", id="other size"),
    pytest.param(None, {"top_k": 0}, "top_k 0: expected whole numbers of at least 1", id="top_k"),
]


@pytest.mark.parametrize(("spoil", "changes", "message"), REFUSALS)
def test_unsuitable_network_is_refused_with_the_fix(
    yolo_network: YoloNetwork,
    spoil: Callable[[onnx.ModelProto], None] | None,
    changes: dict[str, Any],
    message: str,
) -> None:
    network = yolo_network()
    if spoil:
        spoil(network)

    with pytest.raises(ModelError, match=message):
        serve(network, **changes)


def test_rows_without_class_scores_are_refused(yolo_network: YoloNetwork) -> None:
    with pytest.raises(ModelError, match=r"output: shape \[n, 288, 5\] does not fit 0 class names"):
        serve(yolo_network(classes=0), names=[])
