"""Reads a video frame by frame, and reads on behind damage: file or stream -> [Shot] -> who sends or encodes them.

`Container`, `look_at`: looks at how a video file is built: whether it goes on to its end, and what its count of
frames is worth.
"""

import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

# Level-1 elements of a Segment and elements of a Cluster, as Matroska and WebM have them.
_SEGMENT, _CLUSTER, _EBML_HEAD = 0x18538067, 0x1F43B675, 0x1A45DFA3
_MATROSKA_PARTS = {
    *(0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0xEC, 0xBF),
    *(0xE7, 0xA3, 0xA0, 0xAB, 0xA7, 0x5854, 0xAF, _EBML_HEAD),
}
_ISO_FIRST = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp")
_TS_PACKET = 188
_AVI_HEAD, _CHUNK_HEAD, _INDEX_ENTRY = 12, 8, 16
_WIDE_SIZE = 16  # bytes of an ISO box's head whose size takes 64 bits


@dataclass(frozen=True, slots=True)
class Container:
    """How a file is built.

    Attributes:
        kind: `iso` (MP4, MOV), `avi`, `matroska` (MKV, WebM), `ts` or `other`.
        whole: False where the structure breaks off before its end or is damaged on the way.
        indexed: frames that the index of an AVI names, without those that are empty; None elsewhere.
    """

    kind: str
    whole: bool = True
    indexed: int | None = None


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


def look_at(path: Path) -> Container:
    """Recognises a file by its first bytes and follows its structure; nothing is decoded.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(_TS_PACKET + 1)
        size = file.seek(0, 2)
        file.seek(0)
        if start[4:8] in _ISO_FIRST:
            return Container("iso", _walk(file, size, _iso_box))
        if start.startswith(_EBML_HEAD.to_bytes(4, "big")):
            return Container("matroska", _walk(file, size, _matroska_element))
        if start.startswith(b"RIFF") and start[8:12] == b"AVI ":
            return Container("avi", _walk(file, size, _riff_chunk), _indexed(file, size))
    is_ts = len(start) > _TS_PACKET and start[0] == start[_TS_PACKET] == ord("G")
    return Container("ts" if is_ts else "other")


def _walk(file: BinaryIO, size: int, length: Callable[[BinaryIO, int], int | None]) -> bool:
    """Goes from one element to the next; whether the last one ends where the file does."""
    while (at := file.tell()) < size:
        inside = length(file, size - at)
        if inside is None or file.tell() + inside > size:
            return False
        file.seek(inside, 1)
    return True


def _iso_box(file: BinaryIO, left: int) -> int | None:
    """Bytes of a box behind its head, which is read; None where there is no box."""
    head = file.read(_CHUNK_HEAD)
    if len(head) < _CHUNK_HEAD:
        return None
    size = int.from_bytes(head[:4], "big")
    if size == 1:
        return max(int.from_bytes(file.read(8), "big") - _WIDE_SIZE, 0)
    if not head[4:8].isalnum():  # what some cameras write behind the last box
        return left - len(head)
    return left - len(head) if size == 0 else max(size - _CHUNK_HEAD, 0)


def _riff_chunk(file: BinaryIO, left: int) -> int | None:
    """As `_iso_box`; a recorder that never came to the end leaves a size of 0."""
    head = file.read(_CHUNK_HEAD)
    size = int.from_bytes(head[4:], "little")
    inside = size + size % 2
    is_open = head[:4] != b"RIFF" or size == 0
    return left - len(head) if is_open or inside == left - len(head) + 1 else inside


def _indexed(file: BinaryIO, size: int) -> int | None:
    """Frames in the index of an AVI's first part; None without one."""
    file.seek(_AVI_HEAD)
    while file.tell() + _CHUNK_HEAD <= size:
        name, inside = struct.unpack("<4sI", file.read(_CHUNK_HEAD))
        if name == b"idx1":
            entries = file.read(inside)
            named = struct.iter_unpack("<2s2sIII", entries[: len(entries) // _INDEX_ENTRY * _INDEX_ENTRY])
            return sum(1 for _, kind, _, _, length in named if kind in (b"dc", b"db") and length)
        file.seek(inside + inside % 2, 1)
    return None


def _matroska_element(file: BinaryIO, left: int) -> int | None:
    """Bytes of an element to pass over, 0 for one that is entered; None where there is no element."""
    name, size = _number(file, keep_marker=True), _number(file, keep_marker=False)
    if name is None or size is None:
        return None
    if name in (_SEGMENT, _CLUSTER):
        # A recorder that never came to the end leaves all ones, which stand for "unknown".
        return 0
    return size if name in _MATROSKA_PARTS else None


def _number(file: BinaryIO, *, keep_marker: bool) -> int | None:
    """A number of 1 to 8 bytes, as many as its first byte has leading zero bits and one more."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    start = first[0] if keep_marker else first[0] - (0x80 >> more)
    return int.from_bytes(bytes([start]) + rest, "big") if len(rest) == more else None
