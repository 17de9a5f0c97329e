"""Adds nodes and constants to a graph, so that building one reads as a list of steps."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper


class GraphWriter:
    """Writes steps whose names all begin with one prefix, apart from the names of the network.

    Args:
        graph: takes the constants.
        prefix: begins every name, such as `serving/`.
    """

    def __init__(self, graph: onnx.GraphProto, prefix: str) -> None:
        self._graph = graph
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Adds an array and returns its tensor's name."""
        self._graph.initializer.append(numpy_helper.from_array(value, self.full_name(name)))
        return self.full_name(name)

    def full_name(self, name: str) -> str:
        """A step's name with the prefix, for steps of several outputs."""
        return self._prefix + name

    def node(
        self, operator: str, *inputs: str, name: str, outputs: Sequence[str] | None = None, **attributes: Any
    ) -> str:
        """Adds one step and returns its first output's name: the step's own, unless `outputs` gives full names."""
        full_name = self.full_name(name)
        given = [full_name] if outputs is None else list(outputs)
        self.nodes.append(helper.make_node(operator, inputs, given, name=full_name, **attributes))
        return given[0]
