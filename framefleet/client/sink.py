"""Frames out of the client: annotated files, which are looked at before they take their name, and a window."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import cv2

from framefleet.client.snapshot import PICTURE_SUFFIXES
from framefleet.client.sources import Frame, MediaError, Source
from framefleet.machine.ownership import why_denied
from framefleet.video import UnreadableVideo, VideoFile, count_packets

VIDEO_CODECS = {".mp4": "mp4v", ".webm": "VP80", ".avi": "MJPG"}
WINDOW = "Framefleet"
_ESCAPE = 27
_FRAMES_PER_LOOK = 100  # how often the room on the disk is looked at
_LEAST_FREE_BYTES = 4096


class Sink(Protocol):
    """Takes annotated frames in order; closed once, whatever happened.

    Attributes:
        saved: the file or folder that holds every frame taken; None while there is none.
    """

    saved: Path | None

    def put(self, frame: Frame) -> None:
        """Takes one frame, which must not be changed afterwards."""

    def close(self) -> None:
        """Finishes the output.

        Raises:
            MediaError: not every frame could be written.
        """


def target_for(target: Path, source: Source) -> Path:
    """The file or folder to save to: `target`, but a picture is not saved as a video.

    Raises:
        MediaError: its suffix does not fit, or it is the source; nothing was done yet.
    """
    suffix = target.suffix.lower()
    if source.kind == "picture" and suffix in VIDEO_CODECS:
        target, suffix = target.with_suffix(".jpg"), ".jpg"
    if target.resolve() == Path(source.name).resolve():
        raise MediaError(f"--save {target}: this is the source itself; save under another name")
    if source.kind == "folder" and not suffix:
        return target
    if target.is_dir():
        raise MediaError(f"--save {target}: this is a folder; name a file in it, such as {target / 'detect.mp4'}")
    fitting = PICTURE_SUFFIXES if source.kind == "picture" else tuple(VIDEO_CODECS)
    if suffix not in fitting:
        other = ", or name a folder" if source.kind == "folder" else ""
        raise MediaError(f"--save {target}: a {source.kind} is saved as {', '.join(fitting)}; use one of these{other}")
    return target


def open_sink(target: Path, source: Source) -> Sink:
    """Makes the output for what `target_for` gave; nothing is written before the first frame."""
    suffix = target.suffix.lower()
    if suffix in VIDEO_CODECS:
        return _VideoSink(target, source.fps)
    return _PictureSink(target, is_folder=not suffix)


def open_window(stop: Callable[[], None], environ: Mapping[str, str] = os.environ) -> Sink:
    """Makes a window that shows each frame; `q` or Escape in it calls `stop`.

    Raises:
        MediaError: there is no display.
    """
    # Qt ends the whole process when it finds no display, so it must not be asked.
    if not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        raise MediaError("--show: no display (DISPLAY is not set); use --save out.mp4 instead")
    return _Window(stop)


class _VideoSink:
    """OpenCV's writer says nothing when the disk is full: the file is read again before it gets its name."""

    def __init__(self, path: Path, fps: float) -> None:
        self.saved: Path | None = None
        self._path = path
        self._partial = path.with_name(f"{path.stem}.partial{path.suffix}")
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._put = 0

    def put(self, frame: Frame) -> None:
        if self._writer is None:
            height, width = frame.pixels.shape[:2]
            self._size = (width, height)
            self._writer = self._open()
        if self._put % _FRAMES_PER_LOOK == _FRAMES_PER_LOOK - 1 and self._is_disk_full():
            raise MediaError(f"--save {self._path}: the disk is full after {self._put} frames; free some space")
        pixels = frame.pixels
        if (pixels.shape[1], pixels.shape[0]) != self._size:  # pictures of a folder may differ
            pixels = cv2.resize(pixels, self._size)  # type: ignore[assignment]
        self._writer.write(pixels)
        self._put += 1

    def close(self) -> None:
        if self._writer is None:
            return
        self._writer.release()
        written = self._written()
        try:
            if 0 < written == self._put:
                self._partial.replace(self._path)
                self.saved = self._path
            else:
                self._partial.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self._path, error) from error
        if self.saved is None and self._put:
            raise MediaError(
                f"--save {self._path}: {written} of {self._put} frames were written, so nothing is kept; is the disk "
                "full? Free some space, or save elsewhere"
            )

    def _is_disk_full(self) -> bool:
        return shutil.disk_usage(self._path.parent).free < _LEAST_FREE_BYTES

    def _written(self) -> int:
        """Frames of a file that is finished; of one that is not, as a full disk leaves it, less than were put."""
        try:
            with VideoFile(self._partial) as video:
                promised = video.count or 0
        except UnreadableVideo:
            return 0
        packets = count_packets(self._partial)
        # WebM tells a length and no count, which may be rounded.
        return packets if abs(promised - packets) <= 1 else min(promised, packets)

    def _open(self) -> cv2.VideoWriter:
        codec = VIDEO_CODECS[self._path.suffix.lower()]
        _make_folder(self._path.parent)
        try:
            self._partial.touch()
        except OSError as error:  # of which OpenCV says nothing
            raise _unwritable(self._path, error) from error
        with _standard_error_closed():
            fourcc = cv2.VideoWriter.fourcc(*codec)
            writer = cv2.VideoWriter(str(self._partial), cv2.CAP_FFMPEG, fourcc, self._fps, self._size)
        if not writer.isOpened():
            with suppress(OSError):
                self._partial.unlink(missing_ok=True)
            raise MediaError(
                f"--save {self._path}: cannot be written as {codec} video; free some space, or try another "
                "folder or .avi"
            )
        return writer


class _PictureSink:
    def __init__(self, path: Path, *, is_folder: bool) -> None:
        self.saved: Path | None = None
        self._path = path
        self._is_folder = is_folder

    def put(self, frame: Frame) -> None:
        path = self._path / frame.name if self._is_folder else self._path
        _make_folder(path.parent)
        partial = path.with_name(f"{path.stem}.partial{path.suffix}")
        try:
            partial.write_bytes(cv2.imencode(path.suffix, frame.pixels)[1].tobytes())
            partial.replace(path)
        except (OSError, cv2.error) as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise _unwritable(path, error) from error
        self.saved = self._path

    def close(self) -> None:
        pass


class _Window:
    saved: Path | None = None

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop

    def put(self, frame: Frame) -> None:
        try:
            cv2.imshow(WINDOW, frame.pixels)
            key = cv2.waitKey(1) & 0xFF
        except cv2.error as error:
            raise MediaError("--show: this OpenCV has no windows; use --save out.mp4 instead") from error
        if key in (ord("q"), _ESCAPE):
            self._stop()

    def close(self) -> None:
        with suppress(cv2.error):
            cv2.destroyAllWindows()


def _unwritable(path: Path, error: Exception) -> MediaError:
    if isinstance(error, PermissionError):
        return MediaError(f"--save {path}: permission denied; {why_denied(path)}")
    reason = getattr(error, "strerror", None) or error
    return MediaError(f"--save {path}: cannot be written ({reason}); free some space, or try another folder")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except PermissionError:  # whose it is, is said where every command ends
        raise
    except OSError as error:
        raise MediaError(f"--save: {folder} cannot be made ({error.strerror}); try another folder") from error


@contextmanager
def _standard_error_closed() -> Iterator[None]:
    """FFmpeg's muxers write remarks about codec tags straight to descriptor 2; nothing else silences them."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
