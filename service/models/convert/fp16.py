"""Turns a serving graph's network into half precision: the FP16 graph that a strongly typed TensorRT network is.

The conversion itself is onnxruntime's; what is decided here is where it ends. Pixel coordinates up to 640 have steps of
0.5 in FP16, so everything behind the network's last convolutions (the decode head, and the candidates) stays FP32.
"""

from collections.abc import Mapping, Sequence

import onnx
from onnx import TensorProto

from framefleet.wire.errors import ModelError

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Converts the network of a serving graph to FP16.

    Args:
        model: serving graph; frames in, candidates out. It is not changed.

    Returns:
        The same graph with FP16 weights and activations up to the last convolutions, the same inputs and outputs, and
        the same metadata; a graph whose network is FP16 already is returned as it is.

    Raises:
        ModelError: nothing in the graph can be converted.
    """
    from onnxruntime.transformers import float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    if is_half(model):
        return model
    if not any(node.op_type in _WEIGHTED for node in model.graph.node):
        raise ModelError("graph: it has no convolution or matrix product in front of its head; use --precision fp32")
    typed = onnx.shape_inference.infer_shapes(_with_weights(model), data_prop=True)
    head = _head_nodes(typed.graph)
    outputs = _forget_types(typed.graph, head)
    converted = float16.convert_float_to_float16(typed, disable_shape_infer=True, node_block_list=_named(typed, head))
    OnnxModel.graph_topological_sort(converted.graph)
    converted.graph.output.extend(outputs)
    del converted.graph.value_info[:]
    onnx.checker.check_model(converted, full_check=True)
    half: onnx.ModelProto = converted
    return half


def _with_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose Constant nodes are weights: only of those does the converter know that some have to stay FP32."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kept = []
    for node in copy.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            weight = copy.graph.initializer.add()
            weight.CopyFrom(node.attribute[0].t)
            weight.name = node.output[0]
        else:
            kept.append(node)
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    return copy


def is_half(model: onnx.ModelProto) -> bool:
    """Whether a graph's convolutions and matrix products have FP16 weights."""
    weights = {weight.name: weight.data_type for weight in model.graph.initializer}
    found = [weights.get(name) for node in model.graph.node if node.op_type in _WEIGHTED for name in node.input]
    return TensorProto.FLOAT16 in found


def is_quantised(model: onnx.ModelProto) -> bool:
    """Whether a graph has quantisation nodes (Q/DQ), as INT8 needs them."""
    kinds = {node.op_type for node in model.graph.node}
    return {"QuantizeLinear", "DequantizeLinear"} <= kinds


def _head_nodes(graph: onnx.GraphProto) -> set[int]:
    """Numbers of the nodes that no weighted layer of the network depends on.

    A convolution with one output channel does not count as one: v8 exports decode box edges with it.
    """
    weights = {weight.name: weight.dims for weight in graph.initializer}
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    waiting = [index for index, node in enumerate(graph.node) if _is_network(node, weights)]
    network = set(waiting)
    while waiting:
        made_by = {makers[name] for name in graph.node[waiting.pop()].input if name in makers} - network
        network |= made_by
        waiting.extend(made_by)
    return set(range(len(graph.node))) - network


def _is_network(node: onnx.NodeProto, weights: Mapping[str, Sequence[int]]) -> bool:
    one_channel = node.op_type == "Conv" and weights.get(node.input[1], [0])[0] == 1
    return node.op_type in _WEIGHTED and not one_channel


def _named(model: onnx.ModelProto, head: set[int]) -> list[str]:
    """Names of the head's nodes; the converter knows nodes by name only, so each gets one of its own."""
    for index, node in enumerate(model.graph.node):
        node.name = f"{index}/{node.name}"
    return [model.graph.node[index].name for index in sorted(head)]


def _forget_types(graph: onnx.GraphProto, head: set[int]) -> list[onnx.ValueInfoProto]:
    """Takes the types of the head's tensors out of the graph and returns the outputs.

    The converter rounds every tensor whose type it knows to FP16 and back, even between two nodes that stay FP32. What
    it does not know it leaves alone, so the only casts are those at the seam.
    """
    inside = {name for index in head for name in graph.node[index].output}
    kept = [entry for entry in graph.value_info if entry.name not in inside]
    outputs = list(graph.output)
    del graph.value_info[:], graph.output[:]
    graph.value_info.extend(kept)
    return outputs
