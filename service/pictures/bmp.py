"""Decodes BMP files without compression; OpenCV reads some of them with wrong colours or in the wrong place."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from service.errors import MalformedBody, UnsupportedBody
from service.pictures.image import Frame, ImageLimits, Pixels

BYTES_A_PIXEL = 3
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
    limits.claim(header.width * header.height, BYTES_A_PIXEL * header.width * header.height + len(body) + STRIP_BYTES)
    row = (header.width * header.depth + _ROW_BITS - 1) // _ROW_BITS * 4
    missing = header.offset + row * header.height - len(body)
    if missing > row - (header.width * header.depth + 7) // 8:  # but for what only fills the last row up
        raise MalformedBody("image: the BMP ends before its pixels do; send a whole BMP file")
    if missing > 0:
        body += bytes(missing)
    rows = np.frombuffer(body, np.uint8, row * header.height, header.offset).reshape(header.height, row)
    rows = rows if header.top_down else rows[::-1]
    colours = _colours(header, body)
    pixels = np.empty((header.height, header.width, BYTES_A_PIXEL), np.uint8)
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
