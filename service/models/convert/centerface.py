"""Gives the default model, the CenterFace face detector, the YOLOv5 layout that `serving_graph` takes.

CenterFace answers with maps at a quarter of the input's resolution: how likely a face's centre lies in a cell, the
logarithm of its size, and where in the cell the centre is. A face is a cell more likely than its eight neighbours.
"""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from framefleet.wire.errors import ModelError
from service.models.convert.normalise import drop_initializer_inputs, drop_unused_weights, fix_input_size, to_opset
from service.models.convert.writer import GraphWriter

STRIDE = 4
SIZE_STEP = 32
"""The network halves its input five times."""

OUTPUT = "rows"
_HEAT, _LOG_SIZE, _OFFSET = "537", "538", "539"
_LANDMARKS = "540"


def to_yolov5_layout(model: onnx.ModelProto, input_size: tuple[int, int]) -> onnx.ModelProto:
    """Puts CenterFace's maps into rows.

    Args:
        model: the published network (opset 9, input RGB 0..255 NCHW). It is not changed.
        input_size: height and width in px, multiples of 32.

    Returns:
        Opset 17 network with input float32 [n, 3, H, W] and output `rows` float32 [n, H/4 * W/4, 6]: cx, cy, w, h in
        input pixels, heat as objectness, and the one class score: 1 where the cell beats its neighbours, else 0.

    Raises:
        ModelError: a size that is no multiple of 32, or a network that is not CenterFace.
    """
    if any(side < SIZE_STEP or side % SIZE_STEP for side in input_size):
        raise ModelError(f"input size {input_size}: the network needs multiples of {SIZE_STEP}, such as 320")
    missing = {_HEAT, _LOG_SIZE, _OFFSET} - {output.name for output in model.graph.output}
    if missing:
        raise ModelError(f"outputs: {', '.join(sorted(missing))} missing; this is not the CenterFace network")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    drop_initializer_inputs(copy.graph)
    _free_input(copy.graph)
    _drop_landmarks(copy.graph)
    drop_unused_weights(copy.graph)
    copy = to_opset(copy)
    fix_input_size(copy.graph, input_size)
    _add_head(copy.graph, input_size)
    return copy


def _free_input(graph: onnx.GraphProto) -> None:
    """The published file declares one 10-picture batch of 32x32; the network itself takes any."""
    for dim in graph.input[0].type.tensor_type.shape.dim:
        dim.Clear()
    graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")


def _drop_landmarks(graph: onnx.GraphProto) -> None:
    nodes = [node for node in graph.node if _LANDMARKS not in node.output]
    outputs = [output for output in graph.output if output.name != _LANDMARKS]
    del graph.node[:], graph.output[:]
    graph.node.extend(nodes)
    graph.output.extend(outputs)


def _add_head(graph: onnx.GraphProto, input_size: tuple[int, int]) -> None:
    height, width = (side // STRIDE for side in input_size)
    writer = GraphWriter(graph, "head/")
    peak = writer.node("MaxPool", _HEAT, name="peak", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    is_peak = writer.node("Equal", _HEAT, peak, name="is_peak")
    face = writer.node("Cast", is_peak, name="face", to=TensorProto.FLOAT)
    swap = writer.constant("swap", np.array([1, 0]))  # the maps give y before x, and height before width
    stride = writer.constant("stride", np.array(STRIDE, np.float32))
    offset = writer.node("Gather", _OFFSET, swap, name="offset", axis=1)
    cells = writer.constant("cell_centre", _cell_centres(height, width))
    centre = writer.node("Mul", writer.node("Add", offset, cells, name="cell"), stride, name="centre")
    log_size = writer.node("Gather", _LOG_SIZE, swap, name="log_size", axis=1)
    size = writer.node("Mul", writer.node("Exp", log_size, name="size_cells"), stride, name="size")
    maps = writer.node("Concat", centre, size, _HEAT, face, name="maps", axis=1)
    shape = writer.constant("row_shape", np.array([0, 6, height * width]))
    columns = writer.node("Reshape", maps, shape, name="columns")
    writer.node("Transpose", columns, name=OUTPUT, outputs=[OUTPUT], perm=[0, 2, 1])
    graph.node.extend(writer.nodes)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", height * width, 6]))


def _cell_centres(height: int, width: int) -> npt.NDArray[np.float32]:
    """X and y of every cell's middle, in cells: float32 [1, 2, height, width]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
    return np.stack((x, y))[None]
