"""Recognises one picture by its first bytes and decodes it; forms are taken apart in form.py."""

import re

from service.errors import MalformedBody, ServiceError
from service.log import log_event
from service.pictures.image import Frame, ImageLimits
from service.pictures.kinds import TAKEN
from service.pictures.picture import decode_picture
from service.pictures.raw_frame import decode_raw_frame

# With the mark with which Windows begins its texts.
_BLANKS = re.compile(rb"\s*(?:\xef\xbb\xbf\s*)?")


def decode(data: bytes | memoryview, limits: ImageLimits) -> Frame:
    """Decodes one picture of any kind the service takes; blanks before it are passed over.

    Args:
        data: a JPEG, PNG, WebP or BMP file, or the first server's JSON.
        limits: the largest picture to decode.

    Raises:
        RequestError: one of its kinds, saying what is wrong with the body and how to fix it.
    """
    data = without_blanks(data)
    if not data:
        raise MalformedBody(f"body: empty; send a {TAKEN} file, or JSON with height, width and image")
    try:
        return decode_raw_frame(data, limits) if data[0] in b"{[" else decode_picture(data, limits)
    except ServiceError:  # its own, or that nobody waits for it any more
        raise
    except Exception as error:  # whatever a decoder trips over is the fault of this picture, and of no other
        name = type(error).__name__
        log_event("decoder_failed", error=name)
        raise MalformedBody(f"image: its decoder gave up ({name}); save it anew and send that") from error


def without_blanks(data: bytes | memoryview) -> bytes | memoryview:
    """What a picture begins with, without blanks and the mark with which Windows begins its texts."""
    blanks = _BLANKS.match(data)
    return data[blanks.end() :] if blanks and blanks.end() else data
