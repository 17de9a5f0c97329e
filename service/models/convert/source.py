"""Finds out what a network takes and gives, before `serving_graph` wraps it.

What can be wrong with a user's export is found here and in `normalise`; the wrapping itself has no error paths.
"""

from dataclasses import dataclass

import onnx
from onnx import TensorProto, ValueInfoProto, shape_inference

from framefleet.wire.errors import ModelError, first_line
from service.models.convert.layout import RowLayout, decide_layout
from service.models.convert.normalise import single_input

_OUTPUT_RANK = 3
_CLASSIFIER_RANK = 2
_WITH_MASKS = [3, 4]
"""Rows, and one map of mask prototypes."""


@dataclass(frozen=True, slots=True)
class SourceNetwork:
    """The two ends of a network.

    Attributes:
        input_name: tensor that takes float NCHW RGB pictures.
        output_name: tensor that gives the rows.
        element: ONNX element type of the input (float32 or float16).
        batch: pictures per run where the export fixed it, else None.
        layout: what the rows mean.
    """

    input_name: str
    output_name: str
    element: int
    batch: int | None
    layout: RowLayout


def inspect(model: onnx.ModelProto, classes: int | None = None) -> SourceNetwork:
    """Describes a network whose input size is fixed.

    Args:
        model: the network.
        classes: number of class names where they are known.

    Raises:
        ModelError: it is no detection network, it ends in NMS, or the output's shape cannot be worked out.
    """
    _refuse_nms(model.graph)
    entry = single_input(model.graph)
    output = _rows_output(_infer_shapes(model).graph)
    _, second, third = (int(dim.dim_value) for dim in output.type.tensor_type.shape.dim)
    if not second or not third:
        raise ModelError(
            f"output {output.name!r}: rows and columns are unknown until it runs; export the network for one input "
            "size (only the batch may be dynamic)"
        )
    batch, _, height, width = (int(dim.dim_value) for dim in entry.type.tensor_type.shape.dim)
    return SourceNetwork(
        input_name=entry.name,
        output_name=output.name,
        element=entry.type.tensor_type.elem_type,
        batch=batch or None,
        layout=decide_layout((second, third), (height, width), classes),
    )


def _refuse_nms(graph: onnx.GraphProto) -> None:
    """NMS belongs to each request: its thresholds are the request's own, and its result has no fixed size."""
    found = sorted(
        {node.op_type for node in graph.node if "NMS" in node.op_type or node.op_type == "NonMaxSuppression"}
    )
    if found:
        raise ModelError(
            f"graph: it ends in NMS ({', '.join(found)}); export without it: leave out --nms or --end2end, "
            "or nms=True of ultralytics"
        )


def _rows_output(graph: onnx.GraphProto) -> ValueInfoProto:
    """Older exports also give the raw feature maps (5 axes); the decoded rows are the only output of 3 axes."""
    ranks = {output.name: len(output.type.tensor_type.shape.dim) for output in graph.output}
    found: list[ValueInfoProto] = [output for output in graph.output if ranks[output.name] == _OUTPUT_RANK]
    if len(found) != 1 or sorted(ranks.values()) == _WITH_MASKS:
        listed = ", ".join(f"{name!r} has {rank} axes" for name, rank in ranks.items())
        raise ModelError(f"outputs: {listed}; expected exactly one of 3 axes (batch, rows, columns); {_guess(ranks)}")
    return found[0]


def _guess(ranks: dict[str, int]) -> str:
    """What a network with these outputs probably is, and the fix."""
    kinds = list(ranks.values())
    if kinds == [_CLASSIFIER_RANK]:
        return "this looks like a classification model; export a detection model"
    if sorted(kinds) == _WITH_MASKS:
        return "this looks like a segmentation model; export a detection model"
    return "export a detection model, with its detection head and without NMS"


def _infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return shape_inference.infer_shapes(model, data_prop=True, strict_mode=True)
    except shape_inference.InferenceError as error:
        raise ModelError(
            f"graph: its shapes do not fit together ({first_line(error)}); check the input size, or export it again"
        ) from error


def precision_of(model: onnx.ModelProto) -> str:
    """What a network computes in: `int8` (Q/DQ), `fp16` or `fp32`."""
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        return "int8"
    halves = sum(weight.data_type == TensorProto.FLOAT16 for weight in model.graph.initializer)
    floats = sum(weight.data_type == TensorProto.FLOAT for weight in model.graph.initializer)
    return "fp16" if halves > floats else "fp32"
