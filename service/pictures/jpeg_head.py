"""Tells the usual JPEG file, which decoders read as it came, by its head and the end of its data.

Usual is what cameras and most programs write: baseline, whole segments one behind the other, and one scan of all
components with the end of the picture behind it. Of what stands in its other segments libjpeg reads as much as
`service.pictures.jpeg` does, or warns.
"""

import struct
from dataclasses import dataclass

from service.pictures.jpeg import END, JPEG_MAGIC, MAX_TABLE_BYTES
from service.pictures.jpeg_data import end_of_data

MAX_HEAD_SEGMENTS = 256
MAX_HEAD_BYTES = MAX_TABLE_BYTES
_MARKER = 0xFF
_FRAMES, _SCAN = (0xC0, 0xC1), 0xDA
# Tables, and what programs put in for themselves.
_OTHERS = frozenset((0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE))
_SEGMENT = struct.Struct(">BBH")  # a marker, and its segment's length but for the marker
_FRAME = struct.Struct(">BHHB")  # bits, height, width, components
_BITS = 8
_COLOURS = (1, 3)
# Of the first component; the others are sampled once.
_SAMPLINGS = (0x11, 0x21, 0x12, 0x22)
_WHOLE_BLOCK = b"\0\x3f\0"


@dataclass(frozen=True, slots=True)
class UsualJpeg:
    """A usual file: its `width` and `height` in pixels, and the `file` up to the end of its picture."""

    width: int
    height: int
    file: memoryview


def usual_jpeg(body: bytes | memoryview) -> UsualJpeg | None:
    """Knows a usual file; any other, whole or damaged, is None.

    Args:
        body: a file that starts with `JPEG_MAGIC`.

    Raises:
        MalformedBody: it begins as a usual one, and ends before its picture does.
    """
    at, frame = len(JPEG_MAGIC), b""
    for _ in range(MAX_HEAD_SEGMENTS):
        if at + _SEGMENT.size > min(len(body), MAX_HEAD_BYTES):
            break
        fill, marker, length = _SEGMENT.unpack_from(body, at)
        begin, at = at + _SEGMENT.size, at + 2 + length
        if fill != _MARKER or at < begin:
            break
        if marker == _SCAN:
            return _whole(frame, body, at) if _is_usual(frame, bytes(body[begin:at])) else None
        if marker in _FRAMES and not frame:
            frame = bytes(body[begin:at])
        elif marker not in _OTHERS:
            break
    return None


def _is_usual(frame: bytes, scan: bytes) -> bool:
    """Whether what follows the lengths of the two headers is known to every decoder, and fits together."""
    if len(frame) <= _FRAME.size:
        return False
    bits, height, width, count = _FRAME.unpack_from(frame)
    numbers, samplings = frame[_FRAME.size :: 3], frame[_FRAME.size + 1 :: 3]
    return (
        (bits, len(frame)) == (_BITS, _FRAME.size + 3 * count)
        and count in _COLOURS
        and samplings[0] in _SAMPLINGS
        and samplings[1:] == b"\x11" * (count - 1)
        and (scan[:1], scan[1:-3:2], scan[-3:]) == (bytes([count]), numbers, _WHOLE_BLOCK)
        and len(scan) == 4 + 2 * count
        and min(width, height) > 0
    )


def _whole(frame: bytes, body: bytes | memoryview, at: int) -> UsualJpeg | None:
    end = end_of_data(body, at)
    _, height, width, _ = _FRAME.unpack_from(frame)
    file = memoryview(body)[: end + len(END)]
    return UsualJpeg(width, height, file) if file[end:] == END else None
