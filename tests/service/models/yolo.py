"""Builds YOLOv5-shaped networks as ONNX, with random weights or given ones, the way the usual exporters write them.

Backbone and neck are YOLOv5's (release 6 and later); the head is YOLOv5's (three anchors a cell, objectness) or the
anchor-free one of v8, which ultralytics calls YOLOv5u. Weights are named as in YOLOv5's own state dict after its
convolutions have absorbed their batch norms, so `model.0.conv.weight` is the first one. The graph holds what real
exports hold: shapes in Constant nodes, a fixed batch baked into every Reshape, grids worked out with Shape and Range
where height and width are free, and metadata as Python literals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from tests.service.models.yolo_head import Head
from tests.service.models.yolo_pen import Array, Pen

_NOISE_SIZE = (256, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class YoloSpec:
    """What to build.

    Attributes:
        depth: YOLOv5's depth multiple; 0.33 for n and s.
        width: its width multiple; 0.25 for n, 0.5 for s.
        size: height and width of the input in px, multiples of 32; None leaves both free, as `--dynamic` does.
        batch: frames per run, or None for any number.
        half: weights, input and output in float16.
        layout: `yolov5` gives [n, anchors, 5 + classes], `yolov8` [n, 4 + classes, anchors].
        transposed: swaps the output's last two axes.
        classes: class scores per anchor.
        metadata: the export's own properties; what is not a string is written as a Python literal.
        seed: of the random weights.
    """

    depth: float = 0.33
    width: float = 0.25
    size: tuple[int, int] | None = (640, 640)
    batch: int | None = None
    half: bool = False
    layout: str = "yolov5"
    transposed: bool = False
    classes: int = 80
    metadata: Mapping[str, object] = field(default_factory=dict)
    seed: int = 5


YOLOV5N = YoloSpec()
YOLOV5S = YoloSpec(width=0.5)
TINY = YoloSpec(width=0.125, size=(64, 96), classes=4)
"""The same structure, small enough to be run by the hundred."""


def build_yolo(spec: YoloSpec = YOLOV5N, weights: Mapping[str, Array] | None = None) -> onnx.ModelProto:
    """Makes a network with input `images`, float [batch, 3, h, w] RGB 0..1, and output `output0`.

    Args:
        spec: what to build.
        weights: every convolution's weight and bias by name, as `yolo_weights` gives them; random ones without.
    """
    return _Network(spec, yolo_weights(spec) if weights is None else weights).export()


def yolo_weights(spec: YoloSpec) -> dict[str, Array]:
    """Random weights and biases of every convolution by name, float32; the same spec gives the same ones.

    Random weights alone make a deep network's answers vanish or overflow. So each convolution is normalised as batch
    norm does in training, over a few pictures of noise, and then absorbs its norm as an export does.
    """
    measured = replace(spec, size=_NOISE_SIZE, batch=None, half=False, metadata={})
    network = _Network(measured, None)
    session = onnxruntime.InferenceSession(network.export().SerializeToString())
    outputs = [name for name in (output.name for output in session.get_outputs()) if name != "output0"]
    norms = dict(zip(outputs, session.run(outputs, {"images": _noise(spec.seed)}), strict=True))
    weights = {}
    for name, target in network.pen.targets.items():
        mean, std = norms[name + "/mean"].ravel(), norms[name + "/std"].ravel()
        weights[name + ".weight"] = network.pen.made[name] * (target.std / std).reshape(-1, 1, 1, 1)
        weights[name + ".bias"] = target.mean - mean * target.std / std
    return weights


def _noise(seed: int) -> Array:
    """Pictures from smooth to sharp, float32 [n, 3, h, w], 0..1: whatever is sent lies somewhere between them."""
    random = np.random.default_rng(seed)
    pictures = []
    for cells in (2, 3, 4, 8, 16, 32, 64, 256):
        coarse = random.random((cells, cells, 3), np.float32)
        smooth = cv2.resize(coarse, _NOISE_SIZE[::-1], interpolation=cv2.INTER_LINEAR)
        pictures.append(smooth.transpose(2, 0, 1))
    return np.stack(pictures)


class _Network:
    """Writes one graph, layer by layer."""

    def __init__(self, spec: YoloSpec, weights: Mapping[str, Array] | None) -> None:
        self._spec = spec
        self.pen = Pen(weights, half=spec.half, seed=spec.seed)

    def export(self) -> onnx.ModelProto:
        outputs = self._head(self._neck(*self._backbone()))
        self.pen.add("Identity", outputs, name="output0")
        batch = self._spec.batch or "batch"
        size: Sequence[int | str] = self._spec.size or ("height", "width")
        graph = helper.make_graph(
            self.pen.nodes,
            "yolo",
            [helper.make_tensor_value_info("images", self.pen.element, [batch, 3, *size])],
            [
                helper.make_tensor_value_info("output0", self.pen.element, [batch, None, None]),
                *(
                    helper.make_tensor_value_info(f"{name}/{part}", TensorProto.FLOAT, None)
                    for name in self.pen.targets
                    for part in ("mean", "std")
                ),
            ],
            list(self.pen.initializers.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        for key, value in self._spec.metadata.items():
            model.metadata_props.add(key=key, value=str(value))
        return model

    def _backbone(self) -> tuple[str, str, str]:
        """Feature maps at strides 8, 16 and 32."""
        x = self.pen.conv("model.0", "images", self._wide(64), kernel=6, stride=2, pad=2)
        x = self.pen.conv("model.1", x, self._wide(128), kernel=3, stride=2)
        x = self._c3("model.2", x, self._wide(128), self._deep(3))
        x = self.pen.conv("model.3", x, self._wide(256), kernel=3, stride=2)
        fine = self._c3("model.4", x, self._wide(256), self._deep(6))
        x = self.pen.conv("model.5", fine, self._wide(512), kernel=3, stride=2)
        middle = self._c3("model.6", x, self._wide(512), self._deep(9))
        x = self.pen.conv("model.7", middle, self._wide(1024), kernel=3, stride=2)
        x = self._c3("model.8", x, self._wide(1024), self._deep(3))
        return fine, middle, self._sppf("model.9", x, self._wide(1024))

    def _neck(self, fine: str, middle: str, coarse: str) -> list[str]:
        deep = self._deep(3)
        top = self.pen.conv("model.10", coarse, self._wide(512))
        x = self.pen.concat("model.12", self.pen.upsample("model.11", top), middle)
        x = self._c3("model.13", x, self._wide(512), deep, shortcut=False)
        side = self.pen.conv("model.14", x, self._wide(256))
        x = self.pen.concat("model.16", self.pen.upsample("model.15", side), fine)
        small = self._c3("model.17", x, self._wide(256), deep, shortcut=False)
        x = self.pen.conv("model.18", small, self._wide(256), kernel=3, stride=2)
        medium = self._c3("model.20", self.pen.concat("model.19", x, side), self._wide(512), deep, shortcut=False)
        x = self.pen.conv("model.21", medium, self._wide(512), kernel=3, stride=2)
        large = self._c3("model.23", self.pen.concat("model.22", x, top), self._wide(1024), deep, shortcut=False)
        return [small, medium, large]

    def _head(self, levels: list[str]) -> str:
        spec = self._spec
        head = Head(self.pen, batch=spec.batch or 0, size=spec.size, classes=spec.classes, narrow=self._wide(256))
        if self._spec.layout == "yolov5":
            parts = [head.anchored(level, maps) for level, maps in enumerate(levels)]
            rows = self.pen.add("Concat", *parts, name="model.24/rows", axis=1)
        else:
            parts = [head.anchor_free(level, maps) for level, maps in enumerate(levels)]
            rows = self.pen.add("Concat", *parts, name="model.24/rows", axis=2)
        if self._spec.transposed:
            rows = self.pen.add("Transpose", rows, name="model.24/turned", perm=[0, 2, 1])
        return rows

    def _c3(self, name: str, x: str, wide: int, deep: int, *, shortcut: bool = True) -> str:
        inner = wide // 2
        main = self.pen.conv(name + ".cv1", x, inner)
        for index in range(deep):
            y = self.pen.conv(f"{name}.m.{index}.cv1", main, inner)
            y = self.pen.conv(f"{name}.m.{index}.cv2", y, inner, kernel=3)
            main = self.pen.sum(f"{name}.m.{index}/sum", main, y) if shortcut else y
        return self.pen.conv(name + ".cv3", self.pen.concat(name, main, self.pen.conv(name + ".cv2", x, inner)), wide)

    def _sppf(self, name: str, x: str, wide: int) -> str:
        pooled = [self.pen.conv(name + ".cv1", x, self.pen.channels[x] // 2)]
        for index in range(3):
            pool = self.pen.add(
                "MaxPool", pooled[-1], name=f"{name}/pool{index}", kernel_shape=[5, 5], pads=[2, 2, 2, 2]
            )
            self.pen.channels[pool] = self.pen.channels[pooled[0]]
            pooled.append(pool)
        return self.pen.conv(name + ".cv2", self.pen.concat(name, *pooled), wide)

    def _wide(self, channels: int) -> int:
        return int(np.ceil(channels * self._spec.width / 8)) * 8

    def _deep(self, repeats: int) -> int:
        return max(round(repeats * self._spec.depth), 1)
