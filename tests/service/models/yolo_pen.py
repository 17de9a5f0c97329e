"""Writes a YOLO network as ONNX, one step at a time: convolutions with their weights, and what lies between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Target:
    """What a convolution's outputs are normalised to: mean per channel, and standard deviation."""

    mean: Array
    std: float


class Pen:
    """Writes steps; every step's name is its output's.

    Args:
        weights: every convolution's weight and bias by name. Without, the network measures: its convolutions have
            random weights (`made`), are normalised to their `targets`, and say by how much.
        half: everything in float16.
        seed: of the random weights.
    """

    def __init__(self, weights: Mapping[str, Array] | None, *, half: bool, seed: int) -> None:
        self.made: dict[str, Array] = {}
        self.targets: dict[str, Target] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.channels = {"images": 3}
        self.dtype = np.dtype(np.float16 if half else np.float32)
        self.element = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        self._weights = weights
        self._random = np.random.default_rng(seed)

    def conv(self, name: str, x: str, wide: int, *, kernel: int = 1, stride: int = 1, pad: int | None = None) -> str:
        """A convolution and SiLU."""
        out = self.convolution(
            name + ".conv", x, wide, kernel=kernel, stride=stride, pad=kernel // 2 if pad is None else pad
        )
        gate = self.add("Sigmoid", out, name=name + "/gate")
        activated = self.add("Mul", out, gate, name=name + "/act")
        self.channels[activated] = wide
        return activated

    def convolution(
        self,
        name: str,
        x: str,
        wide: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        pad: int = 0,
        std: float = 1.0,
        bias: Array | None = None,
    ) -> str:
        shape = [wide, self.channels[x], kernel, kernel]
        options = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
        if self._weights is None:
            self.made[name] = self._random.standard_normal(shape, np.float32) / np.float32(np.prod(shape[1:]) ** 0.5)
            self.initialise(name + ".weight", self.made[name])
            mean = self._random.standard_normal(wide, np.float32) * np.float32(0.3) if bias is None else bias
            self.targets[name] = Target(mean, std)
            return self._normalised(name, self.add("Conv", x, name + ".weight", name=name, **options))
        for part, expected in ((".weight", shape), (".bias", [wide])):
            value = self._weights[name + part]
            assert list(value.shape) == expected, f"{name + part}: {value.shape} given, the network needs {expected}"
            self.initialise(name + part, value.astype(self.dtype))
        return self.add("Conv", x, name + ".weight", name + ".bias", name=name, **options)

    def _normalised(self, name: str, out: str) -> str:
        """What a measuring network puts behind each convolution, with the measures as outputs."""
        target = self.targets[name]
        mean = self.add("ReduceMean", out, name=name + "/mean", axes=[0, 2, 3], keepdims=1)
        centred = self.add("Sub", out, mean, name=name + "/centred")
        power = self.add(
            "ReduceMean",
            self.add("Mul", centred, centred, name=name + "/squares"),
            name=name + "/power",
            axes=[0, 1, 2, 3],
            keepdims=1,
        )
        raised = self.add("Add", power, self.number(name + "/epsilon", 1e-6), name=name + "/raised")
        std = self.add("Sqrt", raised, name=name + "/std")
        unit = self.add("Div", centred, std, name=name + "/normal")
        spread = self.add("Mul", unit, self.number(name + "/target_std", target.std), name=name + "/spread")
        shift = self.constant(name + "/target_mean", target.mean.reshape(1, -1, 1, 1).astype(np.float32))
        return self.add("Add", spread, shift, name=name + "/placed")

    def upsample(self, name: str, x: str) -> str:
        scales = self.constant(name + "/scales", np.array([1, 1, 2, 2], np.float32))
        modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        out = self.add("Resize", x, "", scales, name=name, **modes)
        self.channels[out] = self.channels[x]
        return out

    def concat(self, name: str, *parts: str) -> str:
        out = self.add("Concat", *parts, name=name + "/concat", axis=1)
        self.channels[out] = sum(self.channels[part] for part in parts)
        return out

    def sum(self, name: str, first: str, second: str) -> str:
        out = self.add("Add", first, second, name=name)
        self.channels[out] = self.channels[first]
        return out

    def add(self, operator: str, *inputs: str, name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: Array) -> str:
        return self.add("Constant", name=name, value=numpy_helper.from_array(value, name))

    def number(self, name: str, value: float) -> str:
        return self.constant(name, np.array(value, self.dtype))

    def initialise(self, name: str, value: Array) -> None:
        self.initializers[name] = numpy_helper.from_array(value, name)

    def split(self, x: str, sizes: list[int], parts: list[str], axis: int) -> None:
        """Cuts a tensor into parts of these names and sizes."""
        cuts = self.constant(parts[0] + "/sizes", np.array(sizes))
        self.nodes.append(helper.make_node("Split", [x, cuts], parts, name=parts[0] + "/split", axis=axis))
