"""Turns picture files into pixels, and pixels into one letterboxed slot of a batch.

Second step of the flow: body -> Frame -> slot. Nothing here trusts what a client says of its own picture: the size
comes from the file's own header and is checked before any pixel is allocated.
"""

import os
from dataclasses import dataclass

# OpenCV reads this once, when it is imported; our own limits (settings) are always the smaller ones.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(500_000_000))

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from service.errors import ImageTooLarge, MalformedBody
from service.png import plain_png

# One request decodes on one thread: the instance's parallelism is its request threads.
cv2.setNumThreads(1)

Pixels = npt.NDArray[np.uint8]

JPEG_MAGIC = b"\xff\xd8\xff"
PNG_HEADER_BYTES = 33  # magic, then the IHDR chunk
PADDING_VALUE = 128
JPEG_SCAN = b"\xff\xda"
# Each scan goes over the whole picture, and takes 10 bytes to send. Progressive files have about 10, and as many again
# in each preview that their headers hold.
MAX_JPEG_SCANS = 100


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded picture.

    `pixels`: uint8 [h, w, 3], BGR, as stored: an EXIF orientation is not applied. `width`, `height`: the picture's own
    size in pixels, in which boxes are answered; `pixels` is smaller where it was decoded scaled.
    """

    pixels: Pixels
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a picture may measure, and how much of it is needed.

    `max_pixels` in all and `max_side` along one side; `shrink_to` is the model's input (height, width) if JPEGs may be
    decoded scaled down towards it, else None.
    """

    max_pixels: int
    max_side: int
    shrink_to: tuple[int, int] | None = None

    def check(self, width: int, height: int) -> None:
        """Refuses a picture by its announced size, before it is decoded.

        Raises:
            MalformedBody: a side is zero.
            ImageTooLarge: a side or the product is over the limit.
        """
        if width < 1 or height < 1:
            raise MalformedBody(f"image: header says {width}x{height} pixels; both sides must be at least 1")
        if max(width, height) > self.max_side or width * height > self.max_pixels:
            raise ImageTooLarge(
                f"image: {width}x{height} is over the limit of {self.max_side} pixels a side and "
                f"{self.max_pixels} in all; send it smaller"
            )


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture was put into the model's input.

    `scale` is input pixels per picture pixel; `pad_x`, `pad_y` are the (fractional) input pixels left of and above it;
    `width`, `height` are the picture's own pixels.
    """

    scale: float
    pad_x: float
    pad_y: float
    width: int
    height: int


def decode_jpeg(body: bytes, limits: ImageLimits) -> Frame:
    """Decodes a JPEG file; grey and CMYK ones become BGR.

    Raises:
        MalformedBody: truncated or damaged.
        ImageTooLarge: over the limits.
    """
    if (scans := body.count(JPEG_SCAN)) > MAX_JPEG_SCANS:
        raise ImageTooLarge(
            f"image: a JPEG of {scans} scans, at most {MAX_JPEG_SCANS} are decoded; save it anew, not progressive"
        )
    try:
        height, width, colour_space, _ = simplejpeg.decode_jpeg_header(body)
    except ValueError as error:
        raise MalformedBody(f"image: not a readable JPEG ({error}); send a whole JPEG file") from None
    limits.check(width, height)
    if colour_space in ("YCCK", "CMYK"):
        return Frame(_decode_with_opencv(body, "JPEG"), width, height)
    least_width, least_height = _scaled_sides(width, height, limits.shrink_to) if limits.shrink_to else (0, 0)
    try:
        pixels = simplejpeg.decode_jpeg(body, "BGR", min_width=least_width, min_height=least_height)
    except ValueError as error:
        raise MalformedBody(f"image: the JPEG is damaged ({error}); send a whole JPEG file") from None
    return Frame(pixels, width, height)


def decode_png(body: bytes, limits: ImageLimits) -> Frame:
    """Decodes a PNG file; grey, palette and 16-bit ones become 8-bit BGR, transparency is ignored.

    Of an animation the picture that others show without it is taken.

    Raises:
        MalformedBody: truncated or damaged.
        ImageTooLarge: over the limits.
    """
    if len(body) < PNG_HEADER_BYTES or body[12:16] != b"IHDR":
        raise MalformedBody("image: the PNG ends before its header does; send a whole PNG file")
    width, height = int.from_bytes(body[16:20], "big"), int.from_bytes(body[20:24], "big")
    limits.check(width, height)
    # OpenCV gives a partly black picture for a cut file, without any error; for one cut here there is ours.
    return Frame(_decode_with_opencv(plain_png(body), "PNG"), width, height)


def letterbox(frame: Frame, slot: Pixels) -> Letterbox:
    """Scales a picture into `slot`, keeping its aspect ratio, centred on grey.

    The rules are the first server's: the scaled sides are truncated, the odd pixel of padding goes to the bottom or
    right, the padding that boxes are corrected by stays fractional.

    Args:
        frame: the picture.
        slot: uint8 [H, W, 3], written in place and whole.
    """
    slot_height, slot_width = slot.shape[:2]
    scale = min(slot_width / frame.width, slot_height / frame.height)
    scaled_width, scaled_height = _scaled_sides(frame.width, frame.height, (slot_height, slot_width))
    left, top = (slot_width - scaled_width) // 2, (slot_height - scaled_height) // 2
    right, bottom = left + scaled_width, top + scaled_height
    inside = slot[top:bottom, left:right]
    cv2.resize(frame.pixels, (scaled_width, scaled_height), dst=inside, interpolation=cv2.INTER_LINEAR)
    slot[:top] = PADDING_VALUE
    slot[bottom:] = PADDING_VALUE
    slot[top:bottom, :left] = PADDING_VALUE
    slot[top:bottom, right:] = PADDING_VALUE
    return Letterbox(
        scale=scale,
        pad_x=(slot_width - scale * frame.width) / 2,
        pad_y=(slot_height - scale * frame.height) / 2,
        width=frame.width,
        height=frame.height,
    )


def _scaled_sides(width: int, height: int, into: tuple[int, int]) -> tuple[int, int]:
    """Width and height of a picture letterboxed into (height, width), truncated, never 0."""
    scale = min(into[1] / width, into[0] / height)
    return max(1, int(width * scale)), max(1, int(height * scale))


def _decode_with_opencv(body: bytes, kind: str) -> Pixels:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(body, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise MalformedBody(f"image: the {kind} is damaged; send a whole {kind} file")
    return np.asarray(pixels, np.uint8)
