"""What ultralytics writes in front of an engine: a length in 4 bytes, and a JSON text of that length."""

import json
from typing import Any

LENGTH_BYTES = 4
MAX_HEADER = 2**20
"""Bytes; a header is a list of names, and an engine without one begins with four letters that are far more."""


def split_header(data: bytes) -> tuple[dict[str, Any] | None, bytes]:
    """Splits an engine file.

    Returns:
        The header, None where there is none; and the engine that TensorRT reads.
    """
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    text = data[LENGTH_BYTES : LENGTH_BYTES + length]
    if not 0 < length <= MAX_HEADER or not text.startswith(b"{"):
        return None, data
    try:
        header = json.loads(text)
    except ValueError:
        return None, data
    return header, data[LENGTH_BYTES + length :]
