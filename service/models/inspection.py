"""What `make model` found in a file: what will be written, what its manifest says, and what to tell its owner.

`ExportMetadata`, `read_properties`: what an exporter wrote into its file about the model: properties of ONNX, config
of TorchScript, header of an engine.

YOLOv5's export.py writes stride, names and (TorchScript) shape; ultralytics writes names, task, imgsz, batch and more.
ONNX properties are Python literals in text, the others JSON.
"""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import onnx

from framefleet.wire.errors import ModelError
from framefleet.wire.manifest import Layout
from service.models.convert.normalise import opset_of, single_input
from service.models.convert.serving_graph import free_batch, prepared, to_bytes, to_serving_graph
from service.models.convert.source import SourceNetwork, inspect, precision_of
from service.models.kind import Recognised

_SUFFIXES = {"onnx": ".onnx", "torchscript": ".torchscript", "engine": ".engine"}
_TITLES = {"torchscript": "TorchScript", "engine": "TensorRT engine, for the GPU and version it was built with"}
_TENSORRTX_MARK = b"YoloLayer_TRT"
_SCALE = 1 / 255
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the owner of a model says about it; what is None is taken from the file.

    Attributes:
        name: what the model will be called.
        names: one per class.
        size: height and width of letterboxed frames, px.
        layout: what the file gives; needed only where neither file nor class names tell.
        has_plugin: whether a shared library with custom layers comes with it.
    """

    name: str
    names: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    layout: Layout | None = None
    has_plugin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A model that can be served.

    Attributes:
        suffix: of the file to write; picks the engine.
        data: content of that file.
        layout: what the file gives.
        input_size: height and width of letterboxed frames, px.
        names: one per class.
        batch: frames per run where the file fixes it, else None.
        lines: what was found, for people.
    """

    suffix: str
    data: bytes
    layout: Layout
    input_size: tuple[int, int]
    names: tuple[str, ...]
    batch: int | None
    lines: tuple[str, ...]


def inspect_model(recognised: Recognised, data: bytes, wishes: Wishes, source_sha256: str) -> Inspection:
    """Inspects a model and makes what will be served.

    Args:
        recognised: what `kind.recognise` says about the file.
        data: its content.
        wishes: what its owner says.
        source_sha256: its hash, kept as provenance.

    Raises:
        ModelError: it cannot be served; the message says why and what to do.
    """
    if recognised.graph is not None:
        return _find_network(recognised.graph, wishes, source_sha256)
    return _find_opaque(recognised, data, wishes)


def _find_network(graph: onnx.ModelProto, wishes: Wishes, source_sha256: str) -> Inspection:
    if wishes.has_plugin:
        raise ModelError("plugin: only engines need one; leave it out for ONNX")
    properties = {entry.key: entry.value for entry in graph.metadata_props}
    if "framefleet.serving" in properties:
        raise ModelError("it is a serving graph already; serve it as it is, or start from the export")
    metadata = read_properties(properties)
    size = _network_size(graph, metadata, wishes)
    network = prepared(graph, size)
    known = wishes.names or metadata.names or None
    source = inspect(network, len(known) if known else None)
    names = known or tuple(f"class_{index}" for index in range(source.layout.classes))
    freed = free_batch(network, source) if source.batch else None
    served = to_serving_graph(
        freed or network, name=wishes.name, input_size=size, names=names, scale=_SCALE, source_sha256=source_sha256
    )
    return Inspection(
        suffix=".onnx",
        data=to_bytes(served),
        layout="serving",
        input_size=size,
        names=names,
        batch=None if freed else source.batch,
        lines=(
            f"ONNX, opset {opset_of(graph)}, {precision_of(graph)}",
            f"layout  {source.layout.kind}, {source.layout.text}",
            f"input   {size[0]}x{size[1]} (height x width)",
            f"classes {_listed(names)}{'' if known else '; not named by the file: give NAMES='}",
            f"batch   {_batch_line(source, freed is not None)}",
        ),
    )


def _network_size(graph: onnx.ModelProto, metadata: ExportMetadata, wishes: Wishes) -> tuple[int, int]:
    """The size asked for, else the one the export fixed, else the one it names."""
    _, _, height, width = (int(dim.dim_value) for dim in single_input(graph.graph).type.tensor_type.shape.dim)
    fixed = (height, width) if height and width else None
    size = wishes.size or fixed or metadata.input_size
    if size is None:
        raise ModelError("input: its height and width are free; give the size it was trained at, such as SIZE=640")
    if fixed is None and any(side < metadata.stride or side % metadata.stride for side in size):
        raise ModelError(f"size {size[0]}x{size[1]}: the network needs multiples of {metadata.stride}, such as 640")
    return size


def _batch_line(source: SourceNetwork, is_freed: bool) -> str:
    if source.batch is None:
        return "any"
    if is_freed:
        return f"any; the export fixed {source.batch}, which was freed (a larger batch answers the same)"
    return (
        f"{source.batch}, fixed by the export and not to be freed: it is served {source.batch} at a time; "
        "export it with --dynamic for larger batches"
    )


def _find_opaque(recognised: Recognised, data: bytes, wishes: Wishes) -> Inspection:
    """TorchScript and engines are not opened: torch and TensorRT may be missing here."""
    kind = recognised.kind
    if wishes.has_plugin and kind != "engine":
        raise ModelError("plugin: only engines need one; leave it out for TorchScript")
    if kind == "engine" and _TENSORRTX_MARK in data and not wishes.has_plugin:
        raise ModelError(
            "engine: it was built by tensorrtx and needs its plugin library; add PLUGIN=path/to/libmyplugins.so"
        )
    metadata = read_properties(recognised.properties)
    layout = wishes.layout or ("tensorrtx" if wishes.has_plugin else metadata.layout)
    names, size = wishes.names or metadata.names, wishes.size or metadata.input_size
    missing = [
        *(["NAMES=a,b,c (or a file, one a line)"] if not names else []),
        *(["SIZE=640 (or HEIGHTxWIDTH)"] if not size else []),
        *(["LAYOUT=yolov5 or LAYOUT=yolov8"] if not layout else []),
    ]
    if not names or not size or not layout:
        raise ModelError(f"{kind}: the file does not say enough about itself; add {', '.join(missing)}")
    return Inspection(
        suffix=_SUFFIXES[kind],
        data=data,
        layout=layout,
        input_size=size,
        names=names,
        batch=None,
        lines=(
            _TITLES[kind],
            f"layout  {layout}",
            f"input   {size[0]}x{size[1]} (height x width)",
            f"classes {_listed(names)}",
            "batch   found out when it is loaded",
        ),
    )


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = ", ..." if len(names) > most else ""
    return f"{len(names)}: {', '.join(names[:most])}{more}"


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
