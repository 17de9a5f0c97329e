"""Draws detections into a picture: boxes, and labels that stay inside it and can be read on any background."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from framefleet.wire.answers import Detection

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PIXELS_PER_LINE_STEP = 360  # a box is one pixel thicker for each of these along the picture's shorter side
_SMALLEST_FONT, _LARGEST_FONT = 0.36, 1.5  # below 0.36 the strokes of e, a and 8 run together
_FONT_PER_PIXEL = 1 / 900
_BOLD_FROM = 0.6
_FIRST_HUE = 0.4  # class 0 is a green that is rare in camera pictures
_GOLDEN_RATIO = 0.618034  # steps of it never come back close to a hue already given


@dataclass(frozen=True, slots=True)
class _Style:
    """Sizes that suit a picture: `line` and `margin` in px, `font` as OpenCV's scale, `stroke` in px."""

    line: int
    margin: int
    font: float
    stroke: int


def draw(frame: Pixels, detections: Sequence[Detection]) -> None:
    """Draws boxes and `name score` labels into a picture, in place; where labels overlap the best score is on top.

    Args:
        frame: uint8 [height, width, 3] BGR, C-contiguous and writable.
        detections: boxes in px of this picture; parts outside of it are not drawn.
    """
    style = _style_for(frame)
    lowest_first = sorted(detections, key=lambda detection: detection.score)
    for detection in lowest_first:
        _draw_box(frame, detection, style)
    for detection in lowest_first:
        _draw_label(frame, detection, style)


def draw_caption(frame: Pixels, text: str) -> None:
    """Writes one line into the picture's bottom left corner, in place."""
    style = _style_for(frame)
    _, height = _tag_size(text, style)
    _draw_tag(frame, text, (0, frame.shape[0] - height), BLACK, style)


def class_colour(class_id: int) -> Colour:
    """The colour of a class, BGR: the same for ever, and far from those of its neighbours."""
    hue = (_FIRST_HUE + class_id * _GOLDEN_RATIO) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.8, 0.95)
    return round(blue * 255), round(green * 255), round(red * 255)


def _style_for(frame: Pixels) -> _Style:
    shorter = min(frame.shape[:2])
    font = min(max(shorter * _FONT_PER_PIXEL, _SMALLEST_FONT), _LARGEST_FONT)
    line = 1 + shorter // _PIXELS_PER_LINE_STEP
    return _Style(line=line, margin=1 + line, font=font, stroke=1 + (font >= _BOLD_FROM))


def _draw_box(frame: Pixels, detection: Detection, style: _Style) -> None:
    left, top, right, bottom = _corners(frame, detection)
    cv2.rectangle(frame, (left, top), (right, bottom), class_colour(detection.class_id), style.line)


def _draw_label(frame: Pixels, detection: Detection, style: _Style) -> None:
    text = _fitting(f"{detection.label} {detection.score:.2f}", frame.shape[1], style)
    left, top, _, _ = _corners(frame, detection)
    width, height = _tag_size(text, style)
    left -= style.line // 2  # flush with the outer edge of the box
    above = top - height
    x = min(max(left, 0), max(frame.shape[1] - width, 0))
    y = above if above >= 0 else min(top, max(frame.shape[0] - height, 0))
    _draw_tag(frame, text, (x, y), class_colour(detection.class_id), style)


def _draw_tag(frame: Pixels, text: str, at: tuple[int, int], background: Colour, style: _Style) -> None:
    """Writes a line on a filled rectangle whose top left corner is at x, y."""
    width, height = _tag_size(text, style)
    x, y = at
    cv2.rectangle(frame, (x, y), (x + width - 1, y + height - 1), background, cv2.FILLED)
    (_, ascent), _ = cv2.getTextSize(text, _FONT, style.font, style.stroke)
    origin = (x + style.margin, y + style.margin + ascent)
    cv2.putText(frame, text, origin, _FONT, style.font, _readable_on(background), style.stroke, cv2.LINE_AA)


def _tag_size(text: str, style: _Style) -> tuple[int, int]:
    (width, ascent), descent = cv2.getTextSize(text, _FONT, style.font, style.stroke)
    return width + 2 * style.margin, ascent + descent + style.margin


def _corners(frame: Pixels, detection: Detection) -> tuple[int, int, int, int]:
    """Whole pixels inside the picture: a box that reaches beyond it is closed at its edge."""
    height, width = frame.shape[:2]
    x1, y1, x2, y2 = detection.box
    x1, x2 = (min(max(side, 0), width - 1) for side in (x1, x2))
    y1, y2 = (min(max(side, 0), height - 1) for side in (y1, y2))
    return round(x1), round(y1), round(x2), round(y2)


def _fitting(text: str, width: int, style: _Style) -> str:
    """`name score` with the name cut until the line fits; OpenCV's font has ASCII letters only."""
    name, _, score = text.encode("ascii", "replace").decode().rpartition(" ")
    if _tag_size(f"{name} {score}", style)[0] <= width:
        return f"{name} {score}"
    while name and _tag_size(f"{name}.. {score}", style)[0] > width:
        name = name[:-1]
    return f"{name}.. {score}" if name else score


def _readable_on(background: Colour) -> Colour:
    blue, green, red = background
    luminance = 0.114 * blue + 0.587 * green + 0.299 * red  # ITU-R BT.601
    return BLACK if luminance > 120 else WHITE  # noqa: PLR2004 - a little below the middle: black is crisper
