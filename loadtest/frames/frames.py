"""Cuts a video into JPEG bodies that are ready to be sent: video -> [FrameSet] -> schedule."""

import hashlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from framefleet.video import UnreadableVideo, VideoFile
from loadtest.errors import VideoError
from loadtest.frames.spool import Spool


@dataclass(frozen=True, slots=True)
class CutSettings:
    """How a video becomes frames.

    Attributes:
        quality: JPEG quality, 1 to 100.
        width: width of the frames in pixels, the height follows; 0 keeps the video's size.
        every: takes every n-th frame of the video.
        limit: stops after this many frames; 0 takes all.
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
        lost: frames between them that could not be read.
    """

    video: Path
    width: int
    height: int
    fps: float
    jpegs: Sequence[bytes]
    times_s: tuple[float, ...]
    lost: int = 0

    @property
    def damage(self) -> str:
        """What a person should know about the video; empty if all is well with it."""
        if not self.lost:
            return ""
        return f"{self.video}: damaged, {self.lost} of its frames could not be read and are left out"

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
    """Reads a video and encodes each frame as it is read, on behind damage.

    Args:
        video: any file that OpenCV's FFmpeg can decode.
        settings: size, quality and how many.

    Raises:
        VideoError: the file is missing, unreadable or holds no frame.
    """
    if not video.is_file():
        raise VideoError(f"{video}: no such video; give the path of a file with --video")
    try:
        with VideoFile(video) as opened:
            return _frame_set(opened, settings)
    except UnreadableVideo:
        raise _unreadable(video) from None


def _frame_set(video: VideoFile, settings: CutSettings) -> FrameSet:
    times_s: list[float] = []
    sizes: set[tuple[int, ...]] = set()

    def jpegs() -> Iterator[bytes]:
        for shot in islice(video.shots(settings.every), settings.limit or None):
            picture = _resized(shot.picture, settings.width)
            sizes.add(picture.shape[:2])
            times_s.append(shot.taken_s)
            yield encode(picture, settings.quality)

    spool = Spool(jpegs())
    if not sizes:
        raise _unreadable(video.path)
    if len(sizes) > 1:
        raise VideoError(
            f"{video.path}: its frames have several sizes; convert it first, or cut out a part of one size"
        )
    ((height, width),) = sizes
    return FrameSet(
        video=video.path,
        width=width,
        height=height,
        fps=video.fps / settings.every,
        jpegs=spool,
        times_s=tuple(taken_s - times_s[0] for taken_s in times_s),
        lost=video.lost,
    )


def _unreadable(video: Path) -> VideoError:
    way = f"convert it first, e.g. `ffmpeg -i {shlex.quote(video.name)} frames.mp4`"
    return VideoError(f"{video}: OpenCV reads no frame of it; {way}")


def _resized(picture: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    old_height, old_width = picture.shape[:2]
    if width in (0, old_width):
        return picture
    height = max(1, round(old_height * width / old_width))
    method = cv2.INTER_AREA if width < old_width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), dtype=np.uint8)


def encode(picture: NDArray[np.uint8], quality: int) -> bytes:
    """JPEG bytes of a uint8 BGR picture [h, w, 3]."""
    try:
        done, buffer = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error:  # a side over 65,500 pixels
        done = False
    if not done:
        raise VideoError(f"a frame of shape {picture.shape} does not encode as JPEG; give a smaller --width")
    return buffer.tobytes()


def decode(jpeg: bytes) -> NDArray[np.uint8]:
    """The uint8 BGR picture [h, w, 3] in a JPEG that `cut` made."""
    picture = cv2.imdecode(np.frombuffer(jpeg, dtype=np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise VideoError(f"{len(jpeg)} bytes do not decode as JPEG")
    return np.asarray(picture, dtype=np.uint8)
