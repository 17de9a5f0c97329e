"""Frees the batch of a network whose export fixed it, where that can be done and proved.

An export of a fixed batch bakes it into shapes: the input's, and those that Reshape and Expand are given. They are
rewritten, and then the proof decides: shape inference, and a larger batch that answers what the untouched network
answers to its frames one batch after the other.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, shape_inference

from service.models.convert.source import SourceNetwork

_SYMBOL = "n"
_TOLERANCE = {np.dtype(np.float32): 1e-3, np.dtype(np.float16): 2e-2}
"""Relative to the largest value of a column: kernels may sum in another order for another batch."""
_SEED = 7


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
