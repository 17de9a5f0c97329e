"""Brings networks from different exporters and years into one shape before they are inspected and wrapped.

Every function but `to_opset` changes the graph it is given; callers pass their own copy.
"""

from collections.abc import Iterator

import onnx
from onnx import TensorProto, ValueInfoProto, version_converter

from framefleet.wire.errors import ModelError, first_line

OPSET = 17
IR_VERSION = 8
"""The file format of opset 17: no newer runtime is asked for than the operators need."""
CHANNELS = 3

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_INPUT_RANK = 4


def drop_initializer_inputs(graph: onnx.GraphProto) -> None:
    """Removes weights from the graph's inputs; listed there, they may change and cannot be folded."""
    weights = {weight.name for weight in graph.initializer}
    kept = [entry for entry in graph.input if entry.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)


def drop_unused_weights(graph: onnx.GraphProto) -> None:
    """Removes weights that no node reads; ONNX Runtime warns about each of them at every start."""
    used = set(_tensors_read(graph)) | {output.name for output in graph.output}
    kept = [weight for weight in graph.initializer if weight.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators that the model uses; 1 when it names none."""
    return max((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)


def to_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Raises a model to opset 17; newer ones are returned as they are.

    Raises:
        ModelError: the converter does not know one of the operators.
    """
    model.ir_version = max(model.ir_version, IR_VERSION)
    if opset_of(model) >= OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # the converter raises bare RuntimeErrors and types of its own
        raise ModelError(
            f"opset {opset_of(model)}: conversion to opset {OPSET} failed ({first_line(error)}); "
            f"export the model with opset {OPSET}"
        ) from error


def fix_input_size(graph: onnx.GraphProto, input_size: tuple[int, int]) -> None:
    """Writes height and width into the declared input and forgets every shape derived from older ones.

    Raises:
        ModelError: the graph has not exactly one input, it is no float NCHW RGB one, or it was exported for another
            size.
    """
    entry = single_input(graph)
    dims = entry.type.tensor_type.shape.dim
    for axis, wanted in zip((1, 2, 3), (CHANNELS, *input_size), strict=True):
        found = dims[axis].dim_value
        if found and found != wanted:
            fix = "export a network that takes RGB pictures" if axis == 1 else "use the size it was exported for"
            raise ModelError(f"input {entry.name!r}: axis {axis} is {found}, expected {wanted}; {fix}")
        dims[axis].dim_value = wanted
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")


def single_input(graph: onnx.GraphProto) -> ValueInfoProto:
    """The one picture input of a network.

    Raises:
        ModelError: there is none or more than one, or it is no float tensor of 4 axes.
    """
    weights = {weight.name for weight in graph.initializer}
    inputs: list[ValueInfoProto] = [entry for entry in graph.input if entry.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(entry.name for entry in inputs) or "none"
        raise ModelError(f"inputs: found {len(inputs)} ({names}), expected one; export the network alone")
    entry = inputs[0]
    tensor = entry.type.tensor_type
    if tensor.elem_type not in _FLOATS:
        found = TensorProto.DataType.Name(tensor.elem_type)
        raise ModelError(
            f"input {entry.name!r}: element type {found}, expected FLOAT or FLOAT16; export it unquantised"
        )
    if len(tensor.shape.dim) != _INPUT_RANK:
        raise ModelError(
            f"input {entry.name!r}: {len(tensor.shape.dim)} axes, expected 4 (batch, channels, height, width); "
            "export the network without its own pre-processing"
        )
    return entry


def _tensors_read(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors_read(inner)
