"""Reads a video file frame by frame, and reads on behind damage: file -> [Shot] -> whoever sends or encodes them."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

# Some containers carry no rate; a clip then plays at this one.
FALLBACK_FPS = 25.0
# OpenCV says "no frame" at a damaged packet, and in the same words at the end of the file, again and again.
_FAILURES_AT_LEAST = 64
_FAILURES_AT_MOST = 10_000
# Each thread of the decoder holds frames of its own: of 4K, 16 of them take 400 MB.
_MOST_THREADS = 4
_MOST_FRAMES = 10**9  # what a container without a count says is far beyond it, or negative


class UnreadableVideo(Exception):
    """There is no video in the file, or none that OpenCV can read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame of a video.

    Attributes:
        index: from 0, among the frames that could be read.
        picture: uint8 BGR [h, w, 3].
        taken_s: presentation time in seconds; never goes back, though behind damage a decoder may.
    """

    index: int
    picture: NDArray[np.uint8]
    taken_s: float


class VideoFile:
    """An opened video; use it in a `with`, and read its shots once.

    Attributes:
        path: the file.
        fps: frames per second at its natural speed.
        count: frames that its container promises; None where it promises nothing. A few containers are wrong.
        read: frames that could be read so far.

    Raises:
        UnreadableVideo: the file is missing, or OpenCV cannot open it.
    """

    def __init__(self, path: Path) -> None:
        import cv2

        if not path.is_file():
            raise UnreadableVideo(f"{path}: no such file; give the path of a video")
        self.path = path
        settings = [cv2.CAP_PROP_N_THREADS, min(_MOST_THREADS, os.cpu_count() or 1)]
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, settings)
        if not self._capture.isOpened():
            self._capture.release()
            raise UnreadableVideo(f"{path}: no video that OpenCV can read; convert it to .mp4")
        self._time_property = cv2.CAP_PROP_POS_MSEC
        fps, count = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = fps if 0 < fps < sys.maxsize else FALLBACK_FPS
        self.count = int(count) if 0 < count <= _MOST_FRAMES else None
        self.read = 0
        self._failures = 0  # reads without a frame that frames followed
        self._ended = False
        self._last_s = 0.0

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()

    def shots(self, every: int = 1) -> Iterator[Shot]:
        """Gives every n-th frame that can be read, to the real end of the file; always ends.

        Args:
            every: 1 gives all; pictures of frames between are not even converted.
        """
        while self._grab():
            self._last_s = max(self._last_s, self._capture.get(self._time_property) / 1e3)
            wanted = self.read % every == 0
            done, picture = self._capture.retrieve() if wanted else (True, None)
            if not done:
                self._failures += 1
                continue
            self.read += 1
            if wanted:
                yield Shot(self.read - 1, np.asarray(picture, dtype=np.uint8), self._last_s)
        self._ended = True

    @property
    def lost(self) -> int:
        """Frames that could not be read: so far, and of the whole file once `shots` has ended."""
        if not self._failures or not self._ended:
            return self._failures
        return max(self._failures, (self.count or 0) - self.read)

    def _grab(self) -> bool:
        """Advances to the next frame, over damage; False at the end."""
        missing = (self.count or 0) - self.read
        for failures in range(min(max(missing, _FAILURES_AT_LEAST), _FAILURES_AT_MOST)):
            if self._capture.grab():
                self._failures += failures
                return True
        return False
