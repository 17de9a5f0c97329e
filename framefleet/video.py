"""Reads a video frame by frame, and reads on behind damage: file or stream -> [Shot] -> who sends or encodes them."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from framefleet.container import look_at

if TYPE_CHECKING:
    from cv2 import VideoCapture

# Some containers carry no rate; a clip then plays at this one.
FALLBACK_FPS = 25.0
# OpenCV says "no frame" at a damaged packet, and in the same words at the end, again and again.
_FAILURES_AT_LEAST = 64
_FAILURES_AT_MOST = 10_000
# Each thread of the decoder holds frames of its own: of 4K, 16 of them take 400 MB.
_MOST_THREADS = 4
_MOST_FRAMES = 10**9  # what a container without a count says is far beyond it, or negative
_RARE = 0.05  # places with gaps, of all frames, up to which a clip has a steady rate and is damaged


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


class Video:
    """An opened video or stream; use it in a `with`, and read its shots once.

    Args:
        capture: opened; released at the end.
        patience_s: longest time without a frame; None waits for as long as OpenCV does.
        clock: seconds, monotonic.

    Attributes:
        fps: frames per second at its natural speed.
        count: frames that its container promises; None where it promises nothing. A few containers are wrong.
        read: frames that could be read so far.
    """

    def __init__(
        self,
        capture: "VideoCapture",
        *,
        patience_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        import cv2

        self._capture = capture
        self._patience_s = patience_s
        self._clock = clock
        self._time_property = cv2.CAP_PROP_POS_MSEC
        fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = fps if 0 < fps < sys.maxsize else FALLBACK_FPS
        self.count = int(count) if 0 < count <= _MOST_FRAMES else None
        self.read = 0
        self._failures = 0  # reads without a frame that frames followed
        self._ended = False
        self._last_s = 0.0
        self._jumps = 0  # places where a frame or more would fit in between
        self._gaps = 0  # frames that would fit there

    def __enter__(self) -> "Video":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()

    def shots(self, every: int = 1) -> Iterator[Shot]:
        """Gives every n-th frame that can be read, to the real end; of a file it always ends.

        Args:
            every: 1 gives all; the frames between are not even converted to pictures.
        """
        while self._grab():
            wanted = self.read % every == 0
            done, picture = self._capture.retrieve() if wanted else (True, None)
            if not done:
                self._failures += 1
                continue
            self._note_time()
            self.read += 1
            if wanted:
                yield Shot(self.read - 1, np.asarray(picture, dtype=np.uint8), self._last_s)
        self._ended = True

    @property
    def lost(self) -> int:
        """Frames that are known to be missing: so far, and of the whole video once `shots` has ended."""
        return max(self._failures, self._short) if self._failures and self._ended else self._failures

    def _note_time(self) -> None:
        """A time that is not known is 0; behind damage a decoder may give frames of before."""
        now_s = max(self._last_s, self._capture.get(self._time_property) / 1e3)
        missing = round((now_s - self._last_s) * self.fps) - 1 if self.read else 0
        self._jumps += missing > 0
        self._gaps += max(missing, 0)
        self._last_s = now_s

    @property
    def _short(self) -> int:
        return max((self.count or 0) - self.read, 0)

    def _grab(self) -> bool:
        """Advances to the next frame, over damage; False at the end."""
        began = self._clock()
        for failures in range(min(max(self._short, _FAILURES_AT_LEAST), _FAILURES_AT_MOST)):
            if self._capture.grab():
                self._failures += failures
                return True
            if self._patience_s is not None and self._clock() - began > self._patience_s:
                break
        return False


class VideoFile(Video):
    """A video file of any kind that OpenCV's FFmpeg can read.

    Raises:
        UnreadableVideo: the file is missing, or OpenCV cannot open it.
    """

    def __init__(self, path: Path) -> None:
        import cv2

        if not path.is_file():
            raise UnreadableVideo(f"{path}: no such file; give the path of a video")
        threads = [cv2.CAP_PROP_N_THREADS, min(_MOST_THREADS, os.cpu_count() or 1)]
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, threads)
        if not capture.isOpened():
            capture.release()
            raise UnreadableVideo(f"{path}: no video that OpenCV can read; convert it to .mp4")
        super().__init__(capture)
        self.path = path

    def __enter__(self) -> "VideoFile":
        return self

    @property
    def lost(self) -> int:
        """Frames that are known to be missing: so far, and of the whole file once `shots` has ended.

        A promise that is not kept is no proof: MKV's and WebM's is but the length of the longest track at the usual
        rate, an MP4 that was trimmed counts what it does not show, and an AVI's is what its recorder last wrote.
        """
        if self._failures or not self._short or not self._ended:
            return super().lost
        container = look_at(self.path)
        if not container.whole:
            return self._short
        if container.indexed is not None:
            return max(min(container.indexed - self.read, self._short), 0)
        # Where frames come as they please, gaps are no proof either; an MP4 counts its frames one by one.
        is_steady = container.kind == "iso" or (container.kind in ("avi", "ts") and self._jumps <= self.read * _RARE)
        return min(self._short, self._gaps) if is_steady else 0


def count_packets(path: Path) -> int:
    """Frames that a file holds, as its container tells; nothing is decoded. 0 where there is no video in it."""
    import cv2

    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    count = 0
    while capture.grab():
        count += 1
    capture.release()
    return count
