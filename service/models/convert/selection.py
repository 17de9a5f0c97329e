"""The back of a serving graph: from a network's rows to its best candidates."""

import numpy as np
from onnx import TensorProto

from service.models.convert.layout import BOX_COLUMNS, RowLayout
from service.models.convert.source import SourceNetwork
from service.models.convert.writer import GraphWriter

CANDIDATE_COLUMNS = 6
"""x1, y1, x2, y2, score, class."""

_REDUCE_AXES_ARE_INPUTS = 18


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
