"""Recognises one picture by its first bytes and decodes it; forms are taken apart in form.py."""

from service.errors import MalformedBody, UnsupportedBody
from service.image import JPEG_MAGIC, Frame, ImageLimits, decode_jpeg, decode_png
from service.png import PNG_MAGIC
from service.raw_frame import decode_raw_frame


def decode(data: bytes, limits: ImageLimits) -> Frame:
    """Decodes one picture of any kind the service takes.

    Args:
        data: a JPEG or PNG file, or the first server's JSON.
        limits: the largest picture to decode.

    Raises:
        RequestError: one of its kinds, saying what is wrong with the body and how to fix it.
    """
    if data.startswith(JPEG_MAGIC):
        return decode_jpeg(data, limits)
    if data.startswith(PNG_MAGIC):
        return decode_png(data, limits)
    start = data[:64].lstrip()
    if start.startswith((b"{", b"[")):
        return decode_raw_frame(data, limits)
    if not data:
        raise MalformedBody("body: empty; send a JPEG or PNG file, or JSON with height, width and image")
    raise UnsupportedBody(f"body: starts with {start[:8]!r}, which is neither JPEG, PNG nor JSON; send one of those")
