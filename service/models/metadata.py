"""What an exporter wrote into its file about the model: properties of ONNX, config of TorchScript, header of an engine.

YOLOv5's export.py writes stride, names and (TorchScript) shape; ultralytics writes names, task, imgsz, batch and more.
ONNX properties are Python literals in text, the others JSON.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from framefleet.wire.errors import ModelError

_SHAPE_RANK = 4
_SIDES = 2


@dataclass(frozen=True, slots=True)
class ExportMetadata:
    """What is known of a model from its exporter.

    Attributes:
        names: one per class, in class order; empty where unknown.
        input_size: height and width of the input, px, where known.
        stride: what the input's sides are multiples of, px.
        layout: what the exporter's detection head gives, where known.
    """

    names: tuple[str, ...] = ()
    input_size: tuple[int, int] | None = None
    stride: int = 32
    layout: Literal["yolov5", "yolov8"] | None = None


def read_properties(properties: Mapping[str, Any]) -> ExportMetadata:
    """Reads an exporter's properties.

    Args:
        properties: by key; values may be text of Python literals.

    Raises:
        ModelError: the model is none for detection, or ends in NMS.
    """
    values = {key: _literal(value) for key, value in properties.items()}
    task = values.get("task", "detect")
    if task != "detect":
        raise ModelError(f"metadata: task is {task!r}; only detection models are served, export one of those")
    arguments = values.get("args")
    if values.get("end2end") is True or (isinstance(arguments, dict) and arguments.get("nms")):
        raise ModelError(
            "metadata: the model was exported with NMS inside; export it with nms=False (and end2end=False where the "
            "exporter knows it)"
        )
    stride = values.get("stride")
    return ExportMetadata(
        names=_names(values.get("names")),
        input_size=_input_size(values),
        stride=stride if isinstance(stride, int) and stride > 0 else 32,
        layout=_layout(values),
    )


def _layout(values: Mapping[str, Any]) -> Literal["yolov5", "yolov8"] | None:
    """Only ultralytics writes the task, and its heads have no objectness."""
    if "task" in values:
        return "yolov8"
    return "yolov5" if "stride" in values else None


def _literal(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def _names(value: Any) -> tuple[str, ...]:
    """A list, or a mapping from class ids that may be text."""
    if isinstance(value, dict):
        try:
            by_id = {int(key): name for key, name in value.items()}
            value = [by_id[index] for index in range(len(by_id))]
        except (KeyError, ValueError, TypeError):
            raise ModelError(
                "metadata: names are not numbered 0, 1, 2 and so on; give the class names with --names"
            ) from None
    return tuple(str(name) for name in value) if isinstance(value, list | tuple) else ()


def _input_size(values: Mapping[str, Any]) -> tuple[int, int] | None:
    size, shape = values.get("imgsz"), values.get("shape")
    if isinstance(shape, list | tuple) and len(shape) == _SHAPE_RANK:
        size = shape[2:]
    if isinstance(size, int):
        size = (size, size)
    if isinstance(size, list | tuple) and len(size) == _SIDES and all(isinstance(side, int) for side in size):
        return size[0], size[1]
    return None
