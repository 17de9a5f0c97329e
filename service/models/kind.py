"""Tells what kind of model a file is, by its content; what is no model is refused with what it is instead."""

import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any, Literal

import onnx
from onnx import TensorProto

from framefleet.wire.errors import ModelError
from service.engines.trt.header import split_header

_PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_TAG_AT = slice(1, 4)
_ENGINE_TAG = b"trt"
"""TensorRT's plans begin with `ftrt`, older ones with `ptrt`, TensorRT-RTX's with `vtrt`."""

PT_RECIPE = (
    "it is a PyTorch checkpoint, a pickle that can run any code, and is never opened here; export it where it was "
    "trained: `python export.py --weights x.pt --include onnx --dynamic` (YOLOv5) or "
    "`yolo export model=x.pt format=onnx dynamic=True` (ultralytics)"
)

Kind = Literal["onnx", "torchscript", "engine"]


@dataclass(frozen=True, slots=True)
class Recognised:
    """A file that is a model.

    Attributes:
        kind: what runs it.
        properties: what the exporter wrote beside the model (engine and TorchScript; ONNX keeps its own).
        graph: the network, where the kind is `onnx`.
    """

    kind: Kind
    properties: dict[str, Any]
    graph: onnx.ModelProto | None = None


def recognise(data: bytes) -> Recognised:
    """Finds out what a file is.

    Raises:
        ModelError: it is no model, or of a kind that cannot be served.
    """
    if not data:
        raise ModelError("the file is empty; fetch or export it again")
    if data.startswith(b"PK"):
        return _archive(data)
    if data.startswith(_PICKLE_STARTS):
        raise ModelError(PT_RECIPE)
    if data[_TAG_AT] == _ENGINE_TAG:
        return Recognised("engine", {})
    if (header := _engine_header(data)) is not None:
        return Recognised("engine", header)
    _refuse_text(data)
    return _network(data)


def _engine_header(data: bytes) -> dict[str, Any] | None:
    """The JSON that ultralytics puts before an engine, after its length in 4 bytes; None without one."""
    header, engine = split_header(data)
    if header is not None and engine[_TAG_AT] != _ENGINE_TAG:
        raise ModelError("the engine is cut off behind its header; fetch or export it again")
    return header


def _archive(data: bytes) -> Recognised:
    """TorchScript and checkpoints are both zip files; only the former holds code."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if not any("/code/" in name for name in names):
                is_checkpoint = any(name.endswith("/data.pkl") for name in names)
                raise ModelError(PT_RECIPE if is_checkpoint else "it is a zip file without a model; unpack it first")
            if (broken := archive.testzip()) is not None:
                raise ModelError(f"{broken} in it is damaged; fetch or export it again")
            config = next((name for name in names if name.endswith("/extra/config.txt")), None)
            properties = json.loads(archive.read(config)) if config else {}
    except (zipfile.BadZipFile, EOFError) as error:
        raise ModelError("it is a zip file (TorchScript?) that is cut off or damaged; fetch it again") from error
    except ValueError as error:
        raise ModelError("config.txt in it is no JSON; export it again") from error
    return Recognised("torchscript", properties if isinstance(properties, dict) else {})


def _refuse_text(data: bytes) -> None:
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ModelError("it is a web page, not a model; use the direct link to the file")
    if start.startswith(b"version https://git-lfs"):
        raise ModelError("it is a Git LFS pointer, not the model; run `git lfs pull`, or use the download link")


def _network(data: bytes) -> Recognised:
    try:
        graph = onnx.load_model_from_string(data)
    except Exception:  # protobuf's DecodeError; its package has no types
        graph = onnx.ModelProto()
    if not graph.graph.node or not graph.opset_import:
        raise ModelError(
            "it is neither ONNX, TorchScript nor a TensorRT engine, or is cut off; fetch or export it again"
        )
    if any(weight.data_location == TensorProto.EXTERNAL for weight in graph.graph.initializer):
        raise ModelError(
            "its weights are in another file; make one of both: "
            "`python -c \"import onnx; onnx.save(onnx.load('x.onnx'), 'whole.onnx')\"`"
        )
    return Recognised("onnx", {}, graph)
