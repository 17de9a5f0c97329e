"""Cuts a video into JPEG bodies that are ready to be sent: video -> [FrameSet] -> schedule."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from loadtest.errors import VideoError

# Some containers carry no rate; a clip then plays at this one.
FALLBACK_FPS = 25.0


@dataclass(frozen=True, slots=True)
class CutSettings:
    """How a video becomes frames.

    Attributes:
        quality: JPEG quality, 1 to 100.
        width: width of the frames in pixels, the height follows; 0 keeps the video's size.
        every: takes every n-th frame of the video.
        limit: stops after this many frames (they are held in memory); 0 takes all.
    """

    quality: int = 90
    width: int = 0
    every: int = 1
    limit: int = 300


@dataclass(frozen=True, slots=True)
class FrameSet:
    """Frames of one video, encoded once and then only sent.

    Attributes:
        video: the file they come from.
        width: of every frame, in pixels.
        height: of every frame, in pixels.
        fps: frames per second at which they would play at their natural speed.
        jpegs: the encoded frames, in order.
        times_s: presentation time of each frame, in seconds from the first.
    """

    video: Path
    width: int
    height: int
    fps: float
    jpegs: tuple[bytes, ...]
    times_s: tuple[float, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over all bodies: two sets with one digest are the same work."""
        total = hashlib.sha256()
        for jpeg in self.jpegs:
            total.update(hashlib.sha256(jpeg).digest())
        return total.hexdigest()

    def picture(self, index: int) -> NDArray[np.uint8]:
        """One frame decoded again: uint8 BGR [h, w, 3]."""
        return decode(self.jpegs[index])


def cut(video: Path, settings: CutSettings) -> FrameSet:
    """Reads a video and encodes its frames.

    Args:
        video: any file that OpenCV's FFmpeg can decode.
        settings: size, quality and how many.

    Raises:
        VideoError: the file is missing, unreadable or holds no frame.
    """
    if not video.is_file():
        raise VideoError(f"{video}: no such video; give the path of a file with --video")
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG)
    try:
        fps = capture.get(cv2.CAP_PROP_FPS) or FALLBACK_FPS
        shots = _shots(capture, settings)
    finally:
        capture.release()
    if not shots:
        raise VideoError(
            f"{video}: OpenCV reads no frame of it; convert it first, e.g. `ffmpeg -i {video.name} frames.mp4`"
        )
    height, width = shots[0].picture.shape[:2]
    return FrameSet(
        video=video,
        width=width,
        height=height,
        fps=fps / settings.every,
        jpegs=tuple(encode(shot.picture, settings.quality) for shot in shots),
        times_s=tuple(shot.taken_s - shots[0].taken_s for shot in shots),
    )


@dataclass(frozen=True, slots=True)
class _Shot:
    """A picture, uint8 BGR [h, w, 3], and its presentation time in seconds."""

    picture: NDArray[np.uint8]
    taken_s: float


def _shots(capture: cv2.VideoCapture, settings: CutSettings) -> list[_Shot]:
    taken: list[_Shot] = []
    index = 0
    while settings.limit == 0 or len(taken) < settings.limit:
        # grab() without retrieve() skips the colour conversion of frames nobody wants.
        if not capture.grab():
            break
        if index % settings.every == 0:
            done, picture = capture.retrieve()
            if not done:
                break
            small = _resized(np.asarray(picture, dtype=np.uint8), settings.width)
            taken.append(_Shot(small, capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3))
        index += 1
    return taken


def _resized(picture: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    old_height, old_width = picture.shape[:2]
    if width in (0, old_width):
        return picture
    height = max(1, round(old_height * width / old_width))
    method = cv2.INTER_AREA if width < old_width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), dtype=np.uint8)


def encode(picture: NDArray[np.uint8], quality: int) -> bytes:
    """JPEG bytes of a uint8 BGR picture [h, w, 3]."""
    done, buffer = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise VideoError(f"a frame of shape {picture.shape} does not encode as JPEG")
    return buffer.tobytes()


def decode(jpeg: bytes) -> NDArray[np.uint8]:
    """The uint8 BGR picture [h, w, 3] in a JPEG that `cut` made."""
    picture = cv2.imdecode(np.frombuffer(jpeg, dtype=np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise VideoError(f"{len(jpeg)} bytes do not decode as JPEG")
    return np.asarray(picture, dtype=np.uint8)
