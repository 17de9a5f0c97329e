"""Decodes lossy WebP files, of which the decoder sees one picture's data, and nothing else."""

from dataclasses import dataclass

from service.errors import ImageTooLarge, MalformedBody, UnsupportedBody
from service.pictures.image import Frame, ImageLimits, decode_with_opencv

MAX_WEBP_CHUNKS = 16_384
BYTES_A_PIXEL = 6  # held while OpenCV decodes (measured)
_CHUNK_HEAD_BYTES = 8
_FILE_HEAD_BYTES = 12
_FRAME_HEAD_BYTES = 16
_LOSSY_HEAD_BYTES = 10
_START_CODE = b"\x9d\x01\x2a"
_SIDE = 0x3FFF


@dataclass(frozen=True, slots=True)
class _Chunk:
    kind: bytes
    data: memoryview
    end: int


def is_webp(data: bytes) -> bool:
    """Whether a file starts as WebP ones do."""
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def decode_webp(body: bytes, limits: ImageLimits) -> Frame:
    """Decodes a WebP file; transparency is ignored, of an animation the first picture is taken.

    Raises:
        MalformedBody: truncated or damaged.
        ImageTooLarge: over the limits.
        UnsupportedBody: a lossless one, or an animation that begins with a part of its picture.
    """
    end = _CHUNK_HEAD_BYTES + int.from_bytes(body[4:8], "little")
    if end > len(body):
        raise MalformedBody("image: the WebP ends before its data does; send a whole WebP file")
    canvas, data = _find_picture(memoryview(body)[:end])
    if len(data) < _LOSSY_HEAD_BYTES or data[3:6] != _START_CODE:
        raise MalformedBody("image: the WebP is damaged; send a whole WebP file")
    width, height = (int.from_bytes(data[at : at + 2], "little") & _SIDE for at in (6, 8))
    limits.check(width, height)
    if canvas not in (None, (width, height)):
        raise UnsupportedBody(
            "body: an animated WebP that begins with a part of its picture, which is not taken; send the picture alone"
        )
    limits.claim(width * height, BYTES_A_PIXEL * width * height + 3 * len(body))
    length, padding = len(data), len(data) % 2
    head = b"RIFF" + (length + padding + 12).to_bytes(4, "little") + b"WEBPVP8 " + length.to_bytes(4, "little")
    file = b"".join([head, data, bytes(padding)])
    return Frame(decode_with_opencv(file, "WebP"), width, height)


def _find_picture(body: memoryview) -> tuple[tuple[int, int] | None, memoryview]:
    """Width and height of the whole picture, where they are given apart, and the data of the first one."""
    canvas, at = None, _FILE_HEAD_BYTES
    for _ in range(MAX_WEBP_CHUNKS):
        chunk = _chunk(body, at)
        if chunk.kind == b"VP8X":
            canvas = _sides(bytes(chunk.data[4:10]))
        elif chunk.kind == b"ANMF":
            at += _CHUNK_HEAD_BYTES + _FRAME_HEAD_BYTES
            continue  # what is inside of it is what there is behind the head of another
        elif chunk.kind == b"VP8 ":
            return canvas, chunk.data
        elif chunk.kind == b"VP8L":
            raise UnsupportedBody("body: a lossless WebP, which is not taken; send a lossy one, or a PNG or JPEG")
        at = chunk.end
    raise ImageTooLarge(f"image: the WebP has over {MAX_WEBP_CHUNKS} chunks; save it anew")


def _chunk(body: memoryview, at: int) -> _Chunk:
    start = at + _CHUNK_HEAD_BYTES
    end = start + int.from_bytes(body[at + 4 : start], "little")
    if start > len(body) or end > len(body):
        raise MalformedBody("image: the WebP ends before its picture does; send a whole WebP file")
    return _Chunk(bytes(body[at : at + 4]), body[start:end], end + end % 2)


def _sides(text: bytes) -> tuple[int, int]:
    return int.from_bytes(text[:3], "little") + 1, int.from_bytes(text[3:], "little") + 1
