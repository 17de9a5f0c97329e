"""Decodes a picture file of whichever kind its first bytes say it is.

`is_bmp`, `decode_bmp`: decodes BMP files without compression; OpenCV reads some of them with wrong colours or in the
wrong place.

`decode_png`, `plain_png`: decodes PNG files, of which the decoder sees what makes up their pixels, and nothing else.

Animations, colour profiles and texts play no part here, but they are most of what a decoder can trip over: OpenCV 4.14
crashes on some damaged animations. The chunks that hold them are left out before it sees the file.

`is_webp`, `decode_webp`: decodes lossy WebP files, of which the decoder sees one picture's data, and nothing else.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from service.errors import ImageTooLarge, MalformedBody, UnsupportedBody
from service.pictures.image import Frame, ImageLimits, Pixels, decode_with_opencv
from service.pictures.jpeg import JPEG_MAGIC
from service.pictures.jpeg_pixels import decode_jpeg
from service.pictures.kinds import HEAD_BYTES, refusal

_CHANNELS = 3
STRIP_BYTES = 2**20  # of the rows that are converted at once: NumPy takes 8 bytes for each index into a palette
_FILE_HEADER_BYTES = 14
_HEADER_BYTES = (12, 40, 52, 56, 64, 108, 124)  # of all versions there are
_OLDEST, _WITHOUT_MASKS = 12, 40
_MASKS_AT, _MASK_BYTES = 54, 12
_PLAIN, _MASKED = 0, 3
_DEPTHS = {_PLAIN: (1, 4, 8, 16, 24, 32), _MASKED: (16, 32)}
_ROW_BITS = 32
_BYTE_MASKS = {0xFF << shift: shift // 8 for shift in (0, 8, 16, 24)}
_MASKS_15_BITS = (0x7C00, 0x03E0, 0x001F)  # red, green, blue


MAX_WEBP_CHUNKS = 16_384
_CHUNK_HEAD_BYTES = 8
_FILE_HEAD_BYTES = 12
_FRAME_HEAD_BYTES = 16
_LOSSY_HEAD_BYTES = 10
_START_CODE = b"\x9d\x01\x2a"
_SIDE = 0x3FFF
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
MAX_PNG_CHUNKS = 16_384  # common encoders put 8 kB and more into each
PNG_HEADER_BYTES = 33  # magic, then the IHDR chunk
BYTES_A_PIXEL = 6  # held while OpenCV decodes, whatever the depth, interlaced or not (measured)
_LENGTH_BYTES = 4
_FRAME_BYTES = 12  # length, type and checksum, around a chunk's data
_ANCILLARY = 0x20  # a small first letter: the picture can be shown without
Decoder = Callable[[bytes, ImageLimits], Frame]


@dataclass(frozen=True, slots=True)
class _Header:
    """What a BMP says of itself.

    `width`, `height` in pixels; `top_down` if its first row is the upper one; `depth` in bits a pixel; `offset` of the
    pixels; `palette` where it stands, and the bytes of each of its colours; `masks` of red, green and blue.
    """

    width: int
    height: int
    top_down: bool
    depth: int
    compression: int
    offset: int
    palette: tuple[int, int]
    masks: tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class _Chunk:
    kind: bytes
    data: memoryview
    end: int


def is_picture(data: bytes | memoryview) -> bool:
    """Whether a file starts as one that is decoded here, blanks before it or not."""
    return _decoder(bytes(data[:HEAD_BYTES]).lstrip()) is not None


def decode_picture(data: bytes | memoryview, limits: ImageLimits) -> Frame:
    """Decodes a JPEG, PNG, WebP or BMP file.

    Raises:
        MalformedBody: truncated or damaged.
        ImageTooLarge: over the limits.
        UnsupportedBody: a file of another kind.
    """
    head = bytes(data[:HEAD_BYTES])
    if head.startswith(JPEG_MAGIC):  # which alone is decoded where it is
        return decode_jpeg(data, limits)
    decoder = _decoder(head)
    if decoder is None:
        raise refusal(head)
    return decoder(bytes(data), limits)


def _decoder(data: bytes) -> Decoder | None:
    if data.startswith(JPEG_MAGIC):
        return decode_jpeg
    if data.startswith(PNG_MAGIC):
        return decode_png
    if is_webp(data):
        return decode_webp
    return decode_bmp if is_bmp(data) else None


def decode_png(body: bytes, limits: ImageLimits) -> Frame:
    """Decodes a PNG file; grey, palette and 16-bit ones become 8-bit BGR, transparency is ignored.

    Of an animation the picture that others show without it is taken.

    Raises:
        MalformedBody: truncated or damaged.
        ImageTooLarge: over the limits.
        UnsupportedBody: of Apple's own kind.
    """
    if body[12:16] == b"CgBI":
        raise UnsupportedBody(
            "body: a PNG of Apple's own kind (CgBI), which only its devices read; send the one it was made from, or a "
            "JPEG"
        )
    if len(body) < PNG_HEADER_BYTES or body[12:16] != b"IHDR":
        raise MalformedBody("image: the PNG ends before its header does; send a whole PNG file")
    width, height = int.from_bytes(body[16:20], "big"), int.from_bytes(body[20:24], "big")
    limits.check(width, height)
    limits.claim(width * height, BYTES_A_PIXEL * width * height + 2 * len(body))
    # OpenCV gives a partly black picture for a cut file, without any error; for one cut here there is ours.
    return Frame(decode_with_opencv(plain_png(body), "PNG"), width, height)


def plain_png(body: bytes) -> bytes:
    """A PNG file with its critical chunks alone.

    Args:
        body: a file that starts with `PNG_MAGIC`; checksums and data are left to the decoder.

    Raises:
        MalformedBody: it ends before its last chunk does.
        ImageTooLarge: it has more chunks than are read.
    """
    view, at = memoryview(body), len(PNG_MAGIC)
    kept: list[memoryview] = [view[:at]]
    for _ in range(MAX_PNG_CHUNKS):
        kind = body[at + _LENGTH_BYTES : at + 2 * _LENGTH_BYTES]
        end = at + _FRAME_BYTES + int.from_bytes(body[at : at + _LENGTH_BYTES], "big")
        if end > len(body):
            raise MalformedBody("image: the PNG ends before its IEND chunk; send a whole PNG file")
        if not kind[0] & _ANCILLARY:
            kept.append(view[at:end])
        if kind == b"IEND":
            return b"".join(kept)
        at = end
    raise ImageTooLarge(f"image: the PNG has over {MAX_PNG_CHUNKS} chunks; save it anew")


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


def is_bmp(data: bytes) -> bool:
    """Whether a file starts as BMP ones do; two letters alone could be a text."""
    return data.startswith(b"BM") and _number(data, _FILE_HEADER_BYTES) in _HEADER_BYTES


def decode_bmp(body: bytes, limits: ImageLimits) -> Frame:
    """Decodes a BMP file; palette and 16-bit ones become 8-bit BGR, transparency is ignored.

    Raises:
        MalformedBody: truncated or damaged.
        ImageTooLarge: over the limits.
        UnsupportedBody: compressed, or of a depth that hardly any program writes.
    """
    header = _read_header(body)
    if header.depth not in _DEPTHS.get(header.compression, ()):
        raise _not_taken(f"of {header.depth} bits and compression {header.compression}")
    limits.check(header.width, header.height)
    limits.claim(header.width * header.height, _CHANNELS * header.width * header.height + len(body) + STRIP_BYTES)
    row = (header.width * header.depth + _ROW_BITS - 1) // _ROW_BITS * 4
    missing = header.offset + row * header.height - len(body)
    if missing > row - (header.width * header.depth + 7) // 8:  # but for what only fills the last row up
        raise MalformedBody("image: the BMP ends before its pixels do; send a whole BMP file")
    if missing > 0:
        body += bytes(missing)
    rows = np.frombuffer(body, np.uint8, row * header.height, header.offset).reshape(header.height, row)
    rows = rows if header.top_down else rows[::-1]
    colours = _colours(header, body)
    pixels = np.empty((header.height, header.width, _CHANNELS), np.uint8)
    strip = max(1, STRIP_BYTES // 16 // header.width)
    for top in range(0, header.height, strip):
        pixels[top : top + strip] = _pixels(rows[top : top + strip], header, colours)
    return Frame(pixels, header.width, header.height)


def _read_header(body: bytes) -> _Header:
    size, offset = _number(body, 14), _number(body, 10)
    if size == _OLDEST:
        width, height, depth = (_number(body, at, 2) for at in (18, 20, 24))
        return _Header(width, height, False, depth, _PLAIN, offset, (_FILE_HEADER_BYTES + size, 3), None)
    width, height = _signed(body, 18), _signed(body, 22)
    depth, compression = _number(body, 28, 2), _number(body, 30)
    masks = None
    if compression == _MASKED:
        masks = (_number(body, _MASKS_AT), _number(body, _MASKS_AT + 4), _number(body, _MASKS_AT + 8))
    start = _FILE_HEADER_BYTES + size + (_MASK_BYTES if masks and size == _WITHOUT_MASKS else 0)
    if depth <= 8 and offset <= start:  # noqa: PLR2004 - bits; some programs leave the palette out of their reckoning
        offset = start + 4 * (_number(body, 46) or 2**depth)
    return _Header(width, abs(height), height < 0, depth, compression, offset, (start, 4), masks)


def _colours(header: _Header, body: bytes) -> Pixels | None:
    """What each value of a pixel looks like, uint8 [values, 3] BGR; None where it says that itself."""
    if header.depth == 16:  # noqa: PLR2004 - bits
        return _colours_of_16_bits(header.masks or _MASKS_15_BITS)
    return _palette(header, body) if header.depth <= 8 else None  # noqa: PLR2004 - bits, as above


def _pixels(rows: Pixels, header: _Header, colours: Pixels | None) -> Pixels:
    """Makes BGR of some rows, uint8 [rows, bytes of a row]."""
    width, depth = header.width, header.depth
    if colours is None:
        channels = rows[:, : width * depth // 8].reshape(len(rows), width, depth // 8)
        return channels[..., _byte_places(header.masks)] if header.masks else channels[..., :3]
    if depth == 16:  # noqa: PLR2004 - bits, as above
        values = np.ascontiguousarray(rows[:, : 2 * width]).view("<u2")
        return np.take(colours, values, axis=0)
    indices = rows
    if depth < 8:  # noqa: PLR2004 - bits, as above
        bits = np.unpackbits(rows, axis=1)
        indices = bits if depth == 1 else np.stack([rows >> 4, rows & 15], axis=-1).reshape(len(rows), -1)
    return np.take(colours, indices[:, :width], axis=0)


def _palette(header: _Header, body: bytes) -> Pixels:
    """Its colours, uint8 [256, 3] BGR; those that it lacks are black."""
    start, size = header.palette
    end = min(start + size * 2**header.depth, header.offset)
    stored = np.frombuffer(body[start : end - (end - start) % size] if end > start else b"", np.uint8)
    colours = np.zeros((256, 3), np.uint8)
    colours[: stored.size // size] = stored.reshape(-1, size)[:, :3]
    return colours


def _byte_places(masks: Iterable[int]) -> list[int]:
    places = [_BYTE_MASKS.get(mask) for mask in masks]
    if None in places:
        raise _not_taken("whose colours are not of 8 bits each")
    return [place for place in reversed(places) if place is not None]


def _colours_of_16_bits(masks: Iterable[int]) -> Pixels:
    """What each of the 65,536 values looks like, uint8 [65536, 3] BGR."""
    values = np.arange(2**16, dtype=np.uint32)
    colours = np.zeros((2**16, 3), np.uint8)
    for channel, mask in zip((2, 1, 0), masks, strict=True):
        if not 0 < mask < 2**16:
            raise _not_taken("whose colours are not of 16 bits together")
        lowest = mask & -mask
        colours[:, channel] = (values & mask) // lowest * 255 // (mask // lowest)
    return colours


def _not_taken(what: str) -> UnsupportedBody:
    return UnsupportedBody(
        f"body: a BMP {what}, which is not taken; send one of 8, 24 or 32 bits without compression, or a PNG or JPEG"
    )


def _number(body: bytes, at: int, size: int = 4) -> int:
    return int.from_bytes(body[at : at + size], "little")


def _signed(body: bytes, at: int) -> int:
    return int.from_bytes(body[at : at + 4], "little", signed=True)
