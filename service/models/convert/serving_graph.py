"""Wraps a YOLOv5- or v8-layout network so that it takes camera frames and gives candidates.

Colour order, transpose and scaling go in front of the network; score, best class, corner boxes and the choice of
the best rows go behind it. The host then moves uint8 frames in and a few kilobytes out. NMS stays on the host: its
result has no fixed size.

`free_batch`: frees the batch of a network whose export fixed it, where that can be done and proved.

An export of a fixed batch bakes it into shapes: the input's, and those that Reshape and Expand are given. They are
rewritten, and then the proof decides: shape inference, and a larger batch that answers what the untouched network
answers to its frames one batch after the other.

`write_selection`: the back of a serving graph: from a network's rows to its best candidates.
"""

import json
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, checker, helper, numpy_helper, shape_inference

from framefleet.wire.errors import ModelError, first_line
from service.models.convert.layout import BOX_COLUMNS, RowLayout
from service.models.convert.normalise import (
    CHANNELS,
    OPSET,
    drop_initializer_inputs,
    drop_unused_weights,
    fix_input_size,
    opset_of,
    to_opset,
)
from service.models.convert.source import SourceNetwork, inspect, precision_of
from service.models.convert.writer import GraphWriter

_SYMBOL = "n"
_TOLERANCE = {np.dtype(np.float32): 1e-3, np.dtype(np.float16): 2e-2}
"""Relative to the largest value of a column: kernels may sum in another order for another batch."""
_SEED = 7
INPUT = "frames"
OUTPUT = "candidates"
_PREFIX = "serving/"
CANDIDATE_COLUMNS = 6
"""x1, y1, x2, y2, score, class."""


_REDUCE_AXES_ARE_INPUTS = 18


def to_serving_graph(
    model: onnx.ModelProto,
    *,
    name: str,
    input_size: tuple[int, int],
    names: Sequence[str],
    scale: float,
    source_sha256: str,
    top_k: int = 300,
) -> onnx.ModelProto:
    """Builds the serving graph around a network; the same arguments give the same bytes.

    Args:
        model: network with one input, float32 or float16 [n, 3, H, W] RGB, and one output of rows: cx, cy, w, h in
            input pixels, objectness where the layout has it, class scores; `[n, anchors, 5 + classes]` as YOLOv5
            gives them, or `[n, 4 + classes, anchors]` as v8 does, or the latter's last axes swapped. It is not changed.
        name: what the model is called in answers and status.
        input_size: height and width of the letterboxed frames, px.
        names: one name per class, in class order.
        scale: multiplied onto the 0..255 pixel values (1/255 for YOLOv5).
        source_sha256: hash of the file the network came from, kept as provenance.
        top_k: most candidates per frame.

    Returns:
        A checked model: input `frames` uint8 [n, H, W, 3] BGR; output `candidates` float32 [n, K, 6]: x1, y1, x2, y2
        in letterboxed pixels, score (best class score, times objectness where there is one), class; highest score
        first; K = min(top_k, anchors). n is the symbol `n`, or the network's own batch where the export fixed that.

    Raises:
        ModelError: the network has another layout, or the arguments do not fit it.
    """
    _check_arguments(model, input_size, names, top_k)
    served = prepared(model, input_size)
    source = inspect(served, len(names))
    _wrap(served, source, input_size, scale, min(top_k, source.layout.anchors))
    _describe(served, name, input_size, names, source_sha256)
    _check(served)
    return served


def to_bytes(model: onnx.ModelProto) -> bytes:
    """Serialises a model; equal models give equal bytes."""
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _check_arguments(model: onnx.ModelProto, input_size: tuple[int, int], names: Sequence[str], top_k: int) -> None:
    if any(entry.key == "framefleet.serving" for entry in model.metadata_props):
        raise ModelError("model: it is a serving graph already; start from the network it was built from")
    if min(input_size) < 1 or top_k < 1:
        raise ModelError(f"input_size {input_size}, top_k {top_k}: expected whole numbers of at least 1")
    if len(set(names)) != len(names):
        raise ModelError(f"names: {', '.join(names)} has repetitions; give every class its own name")


def prepared(model: onnx.ModelProto, input_size: tuple[int, int]) -> onnx.ModelProto:
    """A copy of a network in the one shape that can be inspected and wrapped: opset 17 or later, one input size.

    Raises:
        ModelError: it cannot be converted, or takes no pictures of that size.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    drop_initializer_inputs(copy.graph)
    drop_unused_weights(copy.graph)
    copy = to_opset(copy)
    fix_input_size(copy.graph, input_size)
    return copy


def _wrap(model: onnx.ModelProto, source: SourceNetwork, size: tuple[int, int], scale: float, rows: int) -> None:
    graph = model.graph
    writer = GraphWriter(graph, _PREFIX)
    _write_front(writer, source, scale)
    writer.nodes.extend(graph.node)
    write_selection(writer, source, rows, opset=opset_of(model), output=OUTPUT)
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(writer.nodes)
    batch = source.batch or "n"
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [batch, *size, CHANNELS]))
    shape = [batch, rows, CANDIDATE_COLUMNS]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape))


def _write_front(writer: GraphWriter, source: SourceNetwork, scale: float) -> None:
    """Frames [n, H, W, 3] uint8 BGR to the network's [n, 3, H, W] float RGB; scaled in float32 and then rounded."""
    pixels = writer.node("Cast", INPUT, name="pixels", to=TensorProto.FLOAT)
    planes = writer.node("Transpose", pixels, name="planes", perm=[0, 3, 1, 2])
    rgb = writer.node("Gather", planes, writer.constant("rgb_order", np.array([2, 1, 0])), name="rgb", axis=1)
    factor = writer.constant("scale", np.array(scale, np.float32))
    if source.element == TensorProto.FLOAT:
        writer.node("Mul", rgb, factor, name="scaled", outputs=[source.input_name])
    else:
        scaled = writer.node("Mul", rgb, factor, name="scaled")
        writer.node("Cast", scaled, name="picture", outputs=[source.input_name], to=source.element)


def _describe(
    model: onnx.ModelProto, name: str, input_size: tuple[int, int], names: Sequence[str], source_sha256: str
) -> None:
    model.graph.name = name
    model.producer_name = "framefleet"
    model.producer_version = ""
    model.doc_string = ""
    del model.metadata_props[:]
    properties = {
        "framefleet.serving": "1",
        "framefleet.name": name,
        "framefleet.names": json.dumps(list(names), ensure_ascii=False),
        "framefleet.source_sha256": source_sha256,
        "framefleet.input": f"{input_size[0]}x{input_size[1]}",
        "framefleet.precision": precision_of(model),
    }
    helper.set_model_props(model, properties)


def _check(model: onnx.ModelProto) -> None:
    try:
        checker.check_model(model, full_check=True)
    except (checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"serving graph: {first_line(error)}; export the network again with opset {OPSET}") from error


def write_selection(writer: GraphWriter, source: SourceNetwork, count: int, *, opset: int, output: str) -> None:
    """Writes the steps from the network's rows to the best candidates.

    Rows are chosen first, so that class and corners are worked out for the chosen ones only.

    Args:
        writer: takes the steps.
        source: the network.
        count: candidates per frame, at most as many as the network has anchors.
        opset: version of the operators written.
        output: name of the tensor with the result, float32 [n, count, 6].
    """
    layout = source.layout
    rows = writer.node("Cast", source.output_name, name="rows", to=TensorProto.FLOAT)
    score, index = _write_choice(writer, rows, layout, count, opset)
    chosen = _write_chosen(writer, rows, layout, index)
    centre = _write_slice(writer, chosen, (0, 2), "centre")
    size = _write_slice(writer, chosen, (2, 4), "size")
    half_size = writer.node("Mul", size, writer.constant("half", np.array(0.5, np.float32)), name="half_size")
    left_top = writer.node("Sub", centre, half_size, name="left_top")
    right_bottom = writer.node("Add", centre, half_size, name="right_bottom")
    scores = _write_slice(writer, chosen, (layout.first_score, layout.columns), "chosen_class_scores")
    best = writer.node("ArgMax", scores, name="best_class", axis=2, keepdims=1)
    label = writer.node("Cast", best, name="class", to=TensorProto.FLOAT)
    writer.node("Concat", left_top, right_bottom, score, label, name="candidates", outputs=[output], axis=2)


def _write_choice(writer: GraphWriter, rows: str, layout: RowLayout, count: int, opset: int) -> tuple[str, str]:
    """The best rows' scores [n, count, 1], and indices along the anchors, with the other axis kept as 1.

    Equal scores keep the network's order.
    """
    column_axis = 3 - layout.anchor_axis
    scores = _write_slice(writer, rows, (layout.first_score, layout.columns), "class_scores", column_axis)
    if opset < _REDUCE_AXES_ARE_INPUTS:
        score = writer.node("ReduceMax", scores, name="best_score", axes=[column_axis], keepdims=1)
    else:
        axes = writer.constant("class_axis", np.array([column_axis]))
        score = writer.node("ReduceMax", scores, axes, name="best_score", keepdims=1)
    if layout.kind == "yolov5":
        objectness = _write_slice(writer, rows, (BOX_COLUMNS, BOX_COLUMNS + 1), "objectness", column_axis)
        score = writer.node("Mul", objectness, score, name="score")
    top = [writer.full_name("top_score"), writer.full_name("top_index")]
    number = writer.constant("count", np.array([count]))
    writer.node("TopK", score, number, name="top", outputs=top, axis=layout.anchor_axis)
    if layout.anchor_axis == 1:
        return top[0], top[1]
    return writer.node("Transpose", top[0], name="top_score_column", perm=[0, 2, 1]), top[1]


def _write_chosen(writer: GraphWriter, rows: str, layout: RowLayout, index: str) -> str:
    """The rows at `index`: [n, count, columns]."""
    shape = np.array([1, 1, layout.columns] if layout.anchor_axis == 1 else [1, layout.columns, 1])
    whole = writer.node("Expand", index, writer.constant("row_shape", shape), name="whole_rows")
    chosen = writer.node("GatherElements", rows, whole, name="chosen", axis=layout.anchor_axis)
    if layout.anchor_axis == 1:
        return chosen
    return writer.node("Transpose", chosen, name="chosen_rows", perm=[0, 2, 1])


def _write_slice(writer: GraphWriter, rows: str, columns: tuple[int, int], name: str, axis: int = 2) -> str:
    bounds = {"first": columns[0], "end": columns[1], "axis": axis}
    inputs = [writer.constant(f"{name}/{part}", np.array([value])) for part, value in bounds.items()]
    return writer.node("Slice", rows, *inputs, name=name)


def free_batch(model: onnx.ModelProto, source: SourceNetwork) -> onnx.ModelProto | None:
    """Makes the batch of a network free.

    Args:
        model: the network, prepared (one input size, no stale shapes). It is not changed.
        source: what it takes and gives; `source.batch` is a number.

    Returns:
        The same network for any batch, or None where that cannot be proved.
    """
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    freed.graph.input[0].type.tensor_type.shape.dim[0].dim_param = _SYMBOL
    _rewrite_shapes(freed.graph, int(source.batch or 1))
    return freed if _has_free_output(freed, source) and _answers_alike(model, freed, source) else None


def _rewrite_shapes(graph: onnx.GraphProto, batch: int) -> None:
    """Lets Reshape copy its input's first axis, and Expand keep it, where the batch stood."""
    constants = _constants(graph)
    depends = _tensors_of_input(graph)
    for node in graph.node:
        if node.op_type not in ("Reshape", "Expand") or node.input[0] not in depends:
            continue
        shape = constants.get(node.input[1])
        if shape is None or shape.ndim != 1 or not shape.size or shape[0] != batch:
            continue
        free = shape.copy()
        free[0] = 0 if node.op_type == "Reshape" else 1
        name = f"{node.output[0]}/free_batch"
        graph.initializer.append(numpy_helper.from_array(free, name))
        node.input[1] = name


def _constants(graph: onnx.GraphProto) -> dict[str, npt.NDArray[np.int64]]:
    found = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def _tensors_of_input(graph: onnx.GraphProto) -> set[str]:
    """Every tensor that is worked out from the picture; nodes are in topological order."""
    found = {graph.input[0].name}
    for node in graph.node:
        if found.intersection(node.input):
            found.update(node.output)
    return found


def _has_free_output(freed: onnx.ModelProto, source: SourceNetwork) -> bool:
    try:
        inferred = shape_inference.infer_shapes(freed, data_prop=True, strict_mode=True)
    except shape_inference.InferenceError:
        return False
    output = next(entry for entry in inferred.graph.output if entry.name == source.output_name)
    first, *rest = output.type.tensor_type.shape.dim
    return not first.dim_value and all(dim.dim_value for dim in rest)


def _answers_alike(model: onnx.ModelProto, freed: onnx.ModelProto, source: SourceNetwork) -> bool:
    """Whether one batch of twice the size gives what two runs of the untouched network give."""
    batch = int(source.batch or 1)
    _, *shape = (int(dim.dim_value) for dim in model.graph.input[0].type.tensor_type.shape.dim)
    element = helper.tensor_dtype_to_np_dtype(source.element)
    pictures = np.random.default_rng(_SEED).random((2 * batch, *shape), np.float32).astype(element)
    try:
        (found,) = _run(freed, source, [pictures])
        expected = np.concatenate(list(_run(model, source, [pictures[:batch], pictures[batch:]])))
    except Exception:  # ONNX Runtime's exception classes share no base of their own; any of them is a no
        return False
    if found.shape != expected.shape:
        return False
    limit = _TOLERANCE[np.dtype(element)] * np.abs(expected).max(axis=(0, source.layout.anchor_axis), keepdims=True)
    return bool((np.abs(found - expected) <= limit).all())


def _run(
    model: onnx.ModelProto, source: SourceNetwork, batches: list[npt.NDArray[np.generic]]
) -> Iterator[npt.NDArray[np.float32]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails here is answered, not logged
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for pictures in batches:
        (rows,) = session.run([source.output_name], {source.input_name: pictures})
        yield np.asarray(rows, np.float32)
