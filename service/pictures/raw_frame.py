"""The first server's body: JSON with a frame's raw bytes, decoded with one copy of the pixels and no more.

Almost all of it is one text, over which a reader of JSON would go to find nothing but its end. So what stands around it
is read as JSON, and the text as base64, which has no quotes, brackets or escapes; if it is none, all is read as JSON.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

import msgspec
import pybase64
from msgspec import Meta

from service.errors import InvalidValue, MalformedBody
from service.pictures.image import NO_PIXELS, Frame, ImageLimits
from service.pictures.json_depth import check_depth

CHANNELS = 3
GROUP = 4  # characters of base64 for three bytes, which is to say for a pixel
PIECE_BYTES = 2**17  # of base64: what it decodes to stays in the processor's cache
LONGEST_ESCAPE_BYTES = 6
# What is looked at before the image's text, and behind it.
AROUND_BYTES = 1024
LONG_BYTES = 2**14
_BLANKS = b" \t\n\r\v\f"
_IMAGE = b'"%b"' % (b"A" * (2 * AROUND_BYTES))  # longer than all that stands around it: it is found nowhere else

Body = bytes | memoryview


class RawFrame(msgspec.Struct):
    """A frame's raw bytes, as the first server took them: uint8, BGR, row by row.

    The image stays raw JSON, so that its base64 is decoded once, straight from the body. What stands here beside types
    is for the OpenAPI document: a frame that is wrong is refused in words of our own.
    """

    height: Annotated[int, Meta(description="Rows of pixels.", extra_json_schema={"minimum": 1})]
    width: Annotated[int, Meta(description="Pixels in a row.", extra_json_schema={"minimum": 1})]
    image: Annotated[
        msgspec.Raw,
        Meta(
            description=f"Base64 of height x width x {CHANNELS} bytes (BGR).",
            extra_json_schema={"type": "string", "format": "byte"},
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a body says: `height` and `width` in pixels, its `image` as JSON, and whether that may have escapes.

    `read` unless only what stands around the image was read so far.
    """

    height: int
    width: int
    image: memoryview
    escaped: bool = False
    read: bool = True


def decode_raw_frame(body: Body, limits: ImageLimits) -> Frame:
    """Decodes `{"height": h, "width": w, "image": base64 of raw BGR bytes}`.

    Raises:
        MalformedBody: not JSON, nested too deeply, or the image is not base64.
        InvalidValue: a field is missing, of the wrong type, or contradicts another.
        ImageTooLarge: over the limits.
    """
    asked = _around(body) or _read(body)
    if asked.width < 1 or asked.height < 1:
        raise InvalidValue(f"JSON body: {asked.width}x{asked.height} pixels; both sides must be at least 1")
    limits.check(asked.width, asked.height)
    size = asked.height * asked.width * CHANNELS
    limits.claim(asked.width * asked.height, max(size, len(body)) + (2 * len(body) if asked.escaped else 0))
    if asked.image[0] != ord('"'):
        raise InvalidValue("JSON body: image is not a string; send the base64 of the raw BGR bytes")
    enough = len(asked.image) - len('""') >= GROUP * asked.width * asked.height  # else it is only counted
    pixels = limits.pixels_memory(asked.height, asked.width) if enough else NO_PIXELS
    found = _base64(asked, pixels.reshape(-1).data)
    if isinstance(found, str) and not asked.read:
        del pixels  # what follows takes as much
        asked, found = _again(body, asked)
    if isinstance(found, str):
        raise MalformedBody(f"JSON body: image is not base64 ({found})")
    if found != size:
        raise InvalidValue(
            f"JSON body: image has {found} bytes, but height {asked.height} x width {asked.width} x "
            f"{CHANNELS} channels (BGR) is {size}"
        )
    return Frame(pixels, asked.width, asked.height)


def _around(body: Body) -> _Asked | None:
    """Reads what stands around a long text that is as long as the image; None if there is none."""
    head, tail = bytes(body[:AROUND_BYTES]), bytes(body[-AROUND_BYTES:])
    begin, end = head.rfind(b'"'), tail.find(b'"')
    if len(body) < LONG_BYTES or begin < 0 or end < 0:
        return None
    around = head[:begin] + _IMAGE + tail[end + 1 :]
    try:
        check_depth(around, "JSON body")
        frame = msgspec.json.decode(around, type=RawFrame)
    except (msgspec.DecodeError, MalformedBody):
        return None
    image = memoryview(body)[begin : len(body) - len(tail) + end + 1]
    if bytes(frame.image) != _IMAGE or len(image) - len('""') != GROUP * frame.width * frame.height:
        return None
    return _Asked(frame.height, frame.width, image, read=False)


def _read(body: Body) -> _Asked:
    check_depth(body, "JSON body")
    try:
        frame = msgspec.json.decode(body, type=RawFrame)
    except msgspec.ValidationError as error:
        raise InvalidValue(
            f"JSON body: {error}; send {{'height': int, 'width': int, 'image': base64 of BGR bytes}}"
        ) from None
    except msgspec.DecodeError as error:
        raise MalformedBody(f"JSON body: {error}") from None
    escaped = any(b"\\" in bytes(body[at : at + PIECE_BYTES]) for at in range(0, len(body), PIECE_BYTES))
    return _Asked(frame.height, frame.width, memoryview(frame.image), escaped)


def _again(body: Body, asked: _Asked) -> tuple[_Asked, int | str]:
    """Reads all of a body whose image is not what it looked like, for what is wrong with it.

    Raises:
        MalformedBody: read as a whole it is another frame, for which no memory was claimed.
    """
    read = _read(body)
    if (read.height, read.width) != (asked.height, asked.width):
        raise MalformedBody("JSON body: height or width is there twice; send each of them once")
    return read, _base64(read, memoryview(b""))  # shorter than what it looked like, and so never a frame


def _base64(asked: _Asked, pixels: memoryview) -> int | str:
    """Decodes an image into the memory for it; returns how many bytes it has, or why it is no base64."""
    text = asked.image[1:-1]
    plain = (text[at : at + PIECE_BYTES] for at in range(0, len(text), PIECE_BYTES))
    try:
        return _decoded(_unescaped(text) if asked.escaped else plain, pixels)
    except (ValueError, msgspec.DecodeError) as error:  # bytes that are no UTF-8 are a ValueError, too
        return str(error)


def _decoded(pieces: Iterable[Body], pixels: memoryview) -> int:
    """Decodes piece by piece; bytes that there is no room for are only counted.

    Raises:
        ValueError: it is no base64.
    """
    count, rest, ended = 0, b"", False
    for piece in pieces:
        text = rest + piece if rest else piece
        whole = len(text) - len(text) % GROUP
        rest = bytes(text[whole:])
        data = pybase64.b64decode(text[:whole], validate=True)
        if ended and text:
            raise ValueError("it goes on behind its end")
        ended = ended or len(data) < whole // GROUP * CHANNELS
        if count + len(data) <= len(pixels):
            pixels[count : count + len(data)] = data
        count += len(data)
    return count + len(pybase64.b64decode(rest, validate=True))


def _unescaped(text: memoryview) -> Iterator[bytes]:
    """Undoes JSON's escapes and drops blanks, piece by piece.

    As one string a single character could make four times as much of it, and nobody else would have a turn meanwhile.

    Raises:
        ValueError: something in it is in no base64.
    """
    at = 0
    while at < len(text):
        piece = bytes(text[at : at + PIECE_BYTES])
        cut = piece.find(b"\\", 1 - LONGEST_ESCAPE_BYTES)
        if cut > 0 and at + len(piece) < len(text):  # it may go on in the next piece
            piece = piece[:cut]
        if b"\\\\" in piece:
            raise ValueError("there is a backslash in it")
        at += len(piece)
        yield msgspec.json.decode(b'"%b"' % piece, type=str).encode("ascii").translate(None, _BLANKS)
