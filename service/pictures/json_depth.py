"""How deep JSON is nested, told before it is read: what reads it goes one call deeper per level."""

import numpy as np

from service.errors import MalformedBody

MAX_JSON_DEPTH = 64  # the deepest body of any protocol here has 7 levels
CHUNK_BYTES = 2**16  # what counts them takes some ten times as much memory

# By byte: one level more, one less, or neither.
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1


def check_depth(text: bytes | memoryview, where: str) -> None:
    """Refuses JSON that is nested too deeply; whether it is JSON at all is for others to say.

    Args:
        text: JSON.
        where: what it is called in the message.

    Raises:
        MalformedBody: it has more than `MAX_JSON_DEPTH` levels.
    """
    # Almost every body passes here: it cannot be deeper than it has brackets.
    most = MAX_JSON_DEPTH // 2
    if (_more_than(most, b"[", text) or _more_than(most, b"{", text)) and _depth(text) > MAX_JSON_DEPTH:
        raise MalformedBody(f"{where}: nested deeper than {MAX_JSON_DEPTH} levels; send it flat")


def _more_than(most: int, bracket: bytes, text: bytes | memoryview) -> bool:
    found = 0
    for start in range(0, len(text), CHUNK_BYTES):  # a view of text has no other way to be searched
        found += bytes(text[start : start + CHUNK_BYTES]).count(bracket)
        if found > most:
            return True
    return False


def _depth(text: bytes | memoryview) -> int:
    """Levels at the deepest place; stops counting where they are too many anyway."""
    quotes = level = deepest = start = 0
    while start < len(text) and deepest <= MAX_JSON_DEPTH:
        chunk = bytes(text[start : start + CHUNK_BYTES])
        if (len(chunk) - len(chunk.rstrip(b"\\"))) % 2:  # an escape goes on in the next one
            chunk = bytes(text[start : start + CHUNK_BYTES + 1])
        start += len(chunk)
        # Without escapes a quote begins or ends a text, and brackets inside of texts are no levels.
        part = np.frombuffer(chunk.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
        if not part.size:
            continue
        counted = quotes + np.cumsum(part == ord('"'), dtype=np.int64)
        levels = level + np.cumsum(np.where(counted % 2, 0, _STEPS[part]), dtype=np.int64)
        quotes, level = int(counted[-1]), int(levels[-1])
        deepest = max(deepest, int(levels.max()))
    return deepest
