"""Decodes a picture file of whichever kind its first bytes say it is."""

from collections.abc import Callable

from service.pictures.bmp import decode_bmp, is_bmp
from service.pictures.image import Frame, ImageLimits
from service.pictures.jpeg import JPEG_MAGIC
from service.pictures.jpeg_pixels import decode_jpeg
from service.pictures.kinds import HEAD_BYTES, refusal
from service.pictures.png import PNG_MAGIC, decode_png
from service.pictures.webp import decode_webp, is_webp

Decoder = Callable[[bytes, ImageLimits], Frame]


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
