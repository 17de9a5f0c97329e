"""Draws detections into pictures: frame + reference -> annotated frame, annotated clip."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from framefleet.wire.answers import Detection
from loadtest.errors import RunError
from loadtest.frames.frames import decode

# BGR, told apart by people with colour-blindness too; classes go round them.
COLOURS = ((0, 158, 230), (233, 180, 86), (115, 158, 0), (167, 121, 204), (66, 228, 240), (178, 114, 0))
FONT = cv2.FONT_HERSHEY_SIMPLEX
# Small frames are enlarged so that labels can be read, huge ones reduced so that a page stays light.
SMALLEST_WIDTH = 480
GREATEST_WIDTH = 960
# A clip is a glance, not an archive.
MOST_CLIP_FRAMES = 250


@dataclass(frozen=True, slots=True)
class Clip:
    """A video that was written.

    Attributes:
        path: the file.
        media_type: for the page.
        note: what a viewer should know, empty for nothing.
    """

    path: Path
    media_type: str
    note: str


# Browsers play VP8; MPEG-4 part 2 is what every OpenCV can write.
CODECS = (
    ("VP80", ".webm", "video/webm", ""),
    (
        "mp4v",
        ".mp4",
        "video/mp4",
        "This OpenCV writes no WebM, and not every browser plays this clip: open it in a player.",
    ),
)


def draw(picture: NDArray[np.uint8], detections: Sequence[Detection]) -> NDArray[np.uint8]:
    """A larger or smaller copy of a BGR picture [h, w, 3] with boxes, labels and scores; its sides are even."""
    height, width = picture.shape[:2]
    scale = _scale(width)
    size = (_even(width * scale), _even(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas = np.asarray(cv2.resize(picture, size, interpolation=method), dtype=np.uint8)
    for detection in reversed(detections):
        _draw_one(canvas, detection, scale)
    return canvas


def telling_frame(answers: Sequence[Sequence[Detection]]) -> int:
    """Index of the frame to show: the one with the most detections, then the surest."""
    return max(
        range(len(answers)),
        key=lambda index: (len(answers[index]), sum(one.score for one in answers[index]), -index),
    )


def write_clip(
    jpegs: Sequence[bytes],
    answers: Sequence[Sequence[Detection]],
    fps: float,
    stem: Path,
    step: Callable[[], object] = lambda: None,
) -> Clip:
    """Writes the frames with their detections drawn in.

    Args:
        jpegs: the frames.
        answers: the detections of each.
        fps: frames per second to play at.
        stem: file to write, without its suffix.
        step: called after each frame, for a progress bar.

    Raises:
        RunError: OpenCV can write neither format.
    """
    height, width = draw(decode(jpegs[0]), ()).shape[:2]
    for codec, suffix, media_type, note in CODECS:
        path = stem.with_suffix(suffix)
        with _quiet():
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (width, height))
        if writer.isOpened():
            for jpeg, detections in islice(zip(jpegs, answers, strict=True), MOST_CLIP_FRAMES):
                writer.write(draw(decode(jpeg), detections))
                step()
            writer.release()
            return Clip(path, media_type, note)
        path.unlink(missing_ok=True)
    raise RunError(f"{stem}: OpenCV writes neither WebM nor MP4; install opencv-python as locked")


def _scale(width: int) -> float:
    if width < SMALLEST_WIDTH:
        return float(-(-SMALLEST_WIDTH // width))
    return min(1.0, GREATEST_WIDTH / width)


def _even(length: float) -> int:
    return max(2, round(length / 2) * 2)


def _draw_one(canvas: NDArray[np.uint8], detection: Detection, scale: float) -> None:
    colour = COLOURS[detection.class_id % len(COLOURS)]
    x1, y1, x2, y2 = (round(value * scale) for value in detection.box)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, 2, cv2.LINE_AA)
    text = f"{detection.label} {detection.score:.2f}"
    (width, height), below = cv2.getTextSize(text, FONT, 0.6, 1)
    # Above the box where there is room, inside it where there is none.
    bottom = y1 if y1 >= height + below + 4 else y1 + height + below + 4
    cv2.rectangle(canvas, (x1 - 1, bottom - height - below - 4), (x1 + width + 8, bottom), colour, cv2.FILLED)
    cv2.putText(canvas, text, (x1 + 4, bottom - below), FONT, 0.6, (20, 20, 20), 1, cv2.LINE_AA)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps FFmpeg's remark on the codec tag, written past Python, off the terminal."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
