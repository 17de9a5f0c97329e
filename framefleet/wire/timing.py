"""The stages of a picture's way through an instance, and the `Server-Timing` header that tells what each took."""

import re
from collections.abc import Sequence

from framefleet.wire.answers import Timings

STAGES = Timings.__struct_fields__
# With a place for what `infer` says of its batch.
_HEADER = ", ".join(f"{name};dur=%.3f" + ("%s" if name == "infer" else "") for name in STAGES)
_DURATION = re.compile(r"([\w.-]+)\s*;[^,]*?\bdur=([0-9]+(?:\.[0-9]+)?)")
_BATCH = re.compile(r"\binfer\s*;[^,]*?\bdesc=\"batch of ([1-9]\d{0,3})\"")


def server_timing(stages_ms: Sequence[float], batch_size: int | None = None) -> str:
    """The header's value.

    Args:
        stages_ms: of `STAGES`.
        batch_size: frames that the engine took together, where one picture was sent.
    """
    decode_ms, queue_ms, infer_ms, post_ms = stages_ms
    batch = "" if batch_size is None else f';desc="batch of {batch_size}"'
    return _HEADER % (decode_ms, queue_ms, infer_ms, batch, post_ms)


def read_server_timing(header: str) -> dict[str, float]:
    """Reads `decode;dur=0.5, infer;dur=30.1` into milliseconds by name; parts without a duration are left out."""
    return {name: float(duration) for name, duration in _DURATION.findall(header)}


def read_batch_size(header: str) -> int:
    """Frames that the engine took together, from the same header; 0 if it does not say."""
    found = _BATCH.search(header)
    return int(found[1]) if found else 0
