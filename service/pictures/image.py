"""Turns picture files into pixels, and pixels into one letterboxed slot of a batch.

Second step of the flow: body -> Frame -> slot. Nothing here trusts what a client says of its own picture: the size
comes from the file's own header and is checked before any pixel is allocated.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

# OpenCV reads this once, when it is imported; our own limits (settings) are always the smaller ones.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(500_000_000))

import cv2
import numpy as np
import numpy.typing as npt

from service.errors import ImageTooLarge, MalformedBody

# One request decodes on one thread: the instance's parallelism is its request threads.
cv2.setNumThreads(1)
# What it finds wrong with a picture is the client's to know; the log would fill with it.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

Pixels = npt.NDArray[np.uint8]

PADDING_VALUE = 128
NO_PIXELS: Pixels = np.empty((0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded picture.

    `pixels`: uint8 [h, w, 3], BGR, as stored: an EXIF orientation is not applied. `width`, `height`: the picture's own
    size in pixels, in which boxes are answered; `pixels` is smaller where it was decoded scaled.
    """

    pixels: Pixels
    width: int
    height: int


def fresh(height: int, width: int) -> Pixels:
    """Memory for so many pixels, uint8 [height, width, 3], that nobody had before."""
    return np.empty((height, width, 3), np.uint8)


def unlimited(pixels: int, size: int) -> None:
    """Claims nothing; see `ImageLimits.claim`."""


def _wanted() -> None:
    pass


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a picture may measure, and how much of it is needed.

    `max_pixels` in all and `max_side` along one side; `shrink_to` is the model's input (height, width) if JPEGs may be
    decoded scaled down towards it, else None; `claim` is called with the picture's pixels and the bytes that its
    decoding is going to take, and returns when they may be allocated; `look` is called before what takes long is done
    once more, and raises if nobody waits for the picture any longer; `pixels_memory` gives memory for pixels of so much
    height and width, uint8 [h, w, 3], whatever it holds: all of it is written before it is read.
    """

    max_pixels: int
    max_side: int
    shrink_to: tuple[int, int] | None = None
    claim: Callable[[int, int], None] = unlimited
    look: Callable[[], None] = _wanted
    pixels_memory: Callable[[int, int], Pixels] = fresh

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
    scaled_width, scaled_height = scaled_sides(frame.width, frame.height, (slot_height, slot_width))
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


def scaled_sides(width: int, height: int, into: tuple[int, int]) -> tuple[int, int]:
    """Width and height of a picture letterboxed into (height, width), truncated, never 0."""
    scale = min(into[1] / width, into[0] / height)
    return max(1, int(width * scale)), max(1, int(height * scale))


def decode_with_opencv(body: bytes, kind: str) -> Pixels:
    """Decodes a file that is safe to decode: its size was checked, and it holds one picture.

    Raises:
        MalformedBody: OpenCV finds it damaged; `kind` is what it is called.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(body, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise MalformedBody(f"image: the {kind} is damaged; send a whole {kind} file")
    return np.asarray(pixels, np.uint8)
