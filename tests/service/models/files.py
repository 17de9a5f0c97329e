"""Model files of every kind, as their exporters write them."""

import io
import json
import zipfile
from typing import Any

ENGINE = b"ftrt" + bytes(range(256)) * 8
"""Begins as TensorRT's plans do; nothing here opens one."""
LIBRARY = b"\x7fELF" + bytes(60)


def engine_with_header(header: dict[str, Any], engine: bytes = ENGINE) -> bytes:
    """As ultralytics writes it: the header's length in 4 bytes, the header, the plan."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(4, "little") + text + engine


def torchscript(config: dict[str, Any] | str | None) -> bytes:
    """An archive as torch.jit.save lays it out, without the weights."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("yolov5n/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("yolov5n/code/__torch__.py", "class Model:\n  pass\n" * 50)
        if config is not None:
            archive.writestr("yolov5n/extra/config.txt", config if isinstance(config, str) else json.dumps(config))
    return buffer.getvalue()


def checkpoint() -> bytes:
    """A .pt file as torch.save writes it: pickled, with no code."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("best/data.pkl", b"\x80\x02cos\nsystem\n.")
        archive.writestr("best/data/0", bytes(64))
    return buffer.getvalue()
