"""Looks at how a video file is built: whether it goes on to its end, and what its count of frames is worth."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# Level-1 elements of a Segment and elements of a Cluster, as Matroska and WebM have them.
_SEGMENT, _CLUSTER, _EBML_HEAD = 0x18538067, 0x1F43B675, 0x1A45DFA3
_MATROSKA_PARTS = {
    *(0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0xEC, 0xBF),
    *(0xE7, 0xA3, 0xA0, 0xAB, 0xA7, 0x5854, 0xAF, _EBML_HEAD),
}
_ISO_FIRST = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp")
_TS_PACKET = 188
_AVI_HEAD, _CHUNK_HEAD, _INDEX_ENTRY = 12, 8, 16
_WIDE_SIZE = 16  # bytes of an ISO box's head whose size takes 64 bits


@dataclass(frozen=True, slots=True)
class Container:
    """How a file is built.

    Attributes:
        kind: `iso` (MP4, MOV), `avi`, `matroska` (MKV, WebM), `ts` or `other`.
        whole: False where the structure breaks off before its end or is damaged on the way.
        indexed: frames that the index of an AVI names, without those that are empty; None elsewhere.
    """

    kind: str
    whole: bool = True
    indexed: int | None = None


def look_at(path: Path) -> Container:
    """Recognises a file by its first bytes and follows its structure; nothing is decoded.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(_TS_PACKET + 1)
        size = file.seek(0, 2)
        file.seek(0)
        if start[4:8] in _ISO_FIRST:
            return Container("iso", _walk(file, size, _iso_box))
        if start.startswith(_EBML_HEAD.to_bytes(4, "big")):
            return Container("matroska", _walk(file, size, _matroska_element))
        if start.startswith(b"RIFF") and start[8:12] == b"AVI ":
            return Container("avi", _walk(file, size, _riff_chunk), _indexed(file, size))
    is_ts = len(start) > _TS_PACKET and start[0] == start[_TS_PACKET] == ord("G")
    return Container("ts" if is_ts else "other")


def _walk(file: BinaryIO, size: int, length: Callable[[BinaryIO, int], int | None]) -> bool:
    """Goes from one element to the next; whether the last one ends where the file does."""
    while (at := file.tell()) < size:
        inside = length(file, size - at)
        if inside is None or file.tell() + inside > size:
            return False
        file.seek(inside, 1)
    return True


def _iso_box(file: BinaryIO, left: int) -> int | None:
    """Bytes of a box behind its head, which is read; None where there is no box."""
    head = file.read(_CHUNK_HEAD)
    if len(head) < _CHUNK_HEAD:
        return None
    size = int.from_bytes(head[:4], "big")
    if size == 1:
        return max(int.from_bytes(file.read(8), "big") - _WIDE_SIZE, 0)
    if not head[4:8].isalnum():  # what some cameras write behind the last box
        return left - len(head)
    return left - len(head) if size == 0 else max(size - _CHUNK_HEAD, 0)


def _riff_chunk(file: BinaryIO, left: int) -> int | None:
    """As `_iso_box`; a recorder that never came to the end leaves a size of 0."""
    head = file.read(_CHUNK_HEAD)
    size = int.from_bytes(head[4:], "little")
    inside = size + size % 2
    is_open = head[:4] != b"RIFF" or size == 0
    return left - len(head) if is_open or inside == left - len(head) + 1 else inside


def _indexed(file: BinaryIO, size: int) -> int | None:
    """Frames in the index of an AVI's first part; None without one."""
    file.seek(_AVI_HEAD)
    while file.tell() + _CHUNK_HEAD <= size:
        name, inside = struct.unpack("<4sI", file.read(_CHUNK_HEAD))
        if name == b"idx1":
            entries = file.read(inside)
            named = struct.iter_unpack("<2s2sIII", entries[: len(entries) // _INDEX_ENTRY * _INDEX_ENTRY])
            return sum(1 for _, kind, _, _, length in named if kind in (b"dc", b"db") and length)
        file.seek(inside + inside % 2, 1)
    return None


def _matroska_element(file: BinaryIO, left: int) -> int | None:
    """Bytes of an element to pass over, 0 for one that is entered; None where there is no element."""
    name, size = _number(file, keep_marker=True), _number(file, keep_marker=False)
    if name is None or size is None:
        return None
    if name in (_SEGMENT, _CLUSTER):
        # A recorder that never came to the end leaves all ones, which stand for "unknown".
        return 0
    return size if name in _MATROSKA_PARTS else None


def _number(file: BinaryIO, *, keep_marker: bool) -> int | None:
    """A number of 1 to 8 bytes, as many as its first byte has leading zero bits and one more."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    start = first[0] if keep_marker else first[0] - (0x80 >> more)
    return int.from_bytes(bytes([start]) + rest, "big") if len(rest) == more else None
