"""The first server's body: JSON with a frame's raw bytes, decoded with one copy of the pixels and no more."""

import msgspec
import numpy as np
import pybase64

from service.errors import InvalidValue, MalformedBody
from service.image import Frame, ImageLimits
from service.json_depth import check_depth

CHANNELS = 3
PIECE_BYTES = 2**18
LONGEST_ESCAPE_BYTES = 6
_BLANKS = b" \t\n\r\v\f"


class _RawFrame(msgspec.Struct):
    """The image stays raw JSON, so that its base64 is decoded once, straight from the body."""

    height: int
    width: int
    image: msgspec.Raw


def decode_raw_frame(body: bytes, limits: ImageLimits) -> Frame:
    """Decodes `{"height": h, "width": w, "image": base64 of raw BGR bytes}`.

    Raises:
        MalformedBody: not JSON, nested too deeply, or the image is not base64.
        InvalidValue: a field is missing, of the wrong type, or contradicts another.
        ImageTooLarge: over the limits.
    """
    check_depth(body, "JSON body")
    try:
        frame = msgspec.json.decode(body, type=_RawFrame)
    except msgspec.ValidationError as error:
        raise InvalidValue(
            f"JSON body: {error}; send {{'height': int, 'width': int, 'image': base64 of BGR bytes}}"
        ) from None
    except msgspec.DecodeError as error:
        raise MalformedBody(f"JSON body: {error}") from None
    if frame.width < 1 or frame.height < 1:
        raise InvalidValue(f"JSON body: {frame.width}x{frame.height} pixels; both sides must be at least 1")
    limits.check(frame.width, frame.height)
    escaped = b"\\" in body
    limits.claim(
        frame.width * frame.height,
        max(CHANNELS * frame.width * frame.height, len(body)) + (2 * len(body) if escaped else 0),
    )
    pixels = _base64(frame.image, escaped=escaped)
    expected = frame.height * frame.width * CHANNELS
    if len(pixels) != expected:
        raise InvalidValue(
            f"JSON body: image has {len(pixels)} bytes, but height {frame.height} x width {frame.width} x "
            f"{CHANNELS} channels (BGR) is {expected}"
        )
    shaped = np.frombuffer(pixels, np.uint8).reshape(frame.height, frame.width, CHANNELS)
    return Frame(shaped, frame.width, frame.height)


def _base64(value: msgspec.Raw, *, escaped: bool) -> bytearray:
    quoted = memoryview(value)
    if quoted[0] != ord('"'):
        raise InvalidValue("JSON body: image is not a string; send the base64 of the raw BGR bytes")
    text: memoryview | bytearray = quoted[1:-1]
    try:
        if escaped:  # some encoders write "/" as "\/" or wrap lines; both worked with the first server
            text = _unescaped(quoted[1:-1])
        return pybase64.b64decode_as_bytearray(text, validate=True)
    except (ValueError, msgspec.DecodeError) as error:  # bytes that are no UTF-8 are a ValueError, too
        raise MalformedBody(f"JSON body: image is not base64 ({error})") from None


def _unescaped(text: memoryview) -> bytearray:
    """Undoes JSON's escapes and drops blanks, piece by piece.

    As one string a single character could make four times as much of it, and nobody else would have a turn meanwhile.

    Raises:
        ValueError: something in it is in no base64.
    """
    plain, at = bytearray(), 0
    while at < len(text):
        piece = bytes(text[at : at + PIECE_BYTES])
        cut = piece.find(b"\\", 1 - LONGEST_ESCAPE_BYTES)
        if cut > 0 and at + len(piece) < len(text):  # it may go on in the next piece
            piece = piece[:cut]
        if b"\\\\" in piece:
            raise ValueError("there is a backslash in it")
        at += len(piece)
        plain += msgspec.json.decode(b'"%b"' % piece, type=str).encode("ascii").translate(None, _BLANKS)
    return plain
