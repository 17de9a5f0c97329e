"""The manifest beside every model file: what the file is, where it came from, and how to feed it.

Flow: model [Manifest] written by `make model` and `make engine` -> read by the engines and by `deploy`.
"""

from pathlib import Path
from typing import Literal

import msgspec

from framefleet.whole_file import write_whole
from framefleet.wire.errors import ModelError

Layout = Literal["serving", "yolov5", "yolov8", "tensorrtx"]


class BuiltFor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a TensorRT engine was built for; it is of no use elsewhere.

    Attributes:
        gpu: name of the GPU.
        compute: its compute capability, such as `9.0`.
        tensorrt: version that built it.
        graph_sha256: hash of the serving graph it was built from.
        precision: fp32, fp16 or int8.
    """

    gpu: str
    compute: str
    tensorrt: str
    graph_sha256: str
    precision: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known of one model file.

    Attributes:
        name: what answers and status call the model.
        sha256: hash of the model file, hexadecimal.
        source: file name or URL it was made from.
        source_sha256: hash of that.
        layout: what the file itself gives: `serving` frames to candidates; `yolov5` [n, anchors, 5 + classes];
            `yolov8` [n, 4 + classes, anchors]; `tensorrtx` a count and rows.
        input: height and width of letterboxed frames, px.
        names: one per class, in class order.
        batch: frames per run where the file fixes it, else None.
        scale: multiplied onto 0..255 pixel values where the file takes floats.
        builder: version of the code that made the file.
        plugin: path of the shared library its custom layers need; empty without.
        plugin_sha256: hash of that; empty where it is not known.
        built_for: set for TensorRT engines that `make engine` built.
    """

    name: str
    sha256: str
    source: str
    source_sha256: str
    layout: Layout
    input: tuple[int, int]
    names: tuple[str, ...]
    batch: int | None = None
    scale: float = 1 / 255
    builder: str = ""
    plugin: str = ""
    plugin_sha256: str = ""
    built_for: BuiltFor | None = None


def manifest_path(model: Path) -> Path:
    """Where a model file's manifest is: beside it, ending in `.json`."""
    return model.with_suffix(".json")


def read_manifest(model: Path) -> Manifest:
    """Reads the manifest beside a model file.

    Raises:
        ModelError: it is missing or not a manifest.
    """
    path = manifest_path(model)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise ModelError(f"{path}: missing; `make model MODEL={model}` writes it") from None
    except msgspec.MsgspecError as error:
        raise ModelError(f"{path}: is no manifest ({error}); `make model MODEL=...` writes it anew") from error


def write_manifest(model: Path, manifest: Manifest) -> None:
    """Writes the manifest beside a model file."""
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    write_whole(manifest_path(model), data + b"\n")
