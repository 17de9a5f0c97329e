"""Frames in and out of the client: videos, pictures, folders and cameras; annotated files and a window."""

import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2

from service.draw import Pixels

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
VIDEO_CODECS = {".mp4": "mp4v", ".webm": "VP80", ".avi": "MJPG"}
STREAM_SCHEMES = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://", "udp://", "srt://")
DEFAULT_FPS = 25.0
WINDOW = "Framefleet"
_ESCAPE = 27

Frames = Generator["Frame", None, None]


class MediaError(Exception):
    """A source cannot be read or a target cannot be written; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: its `index` from 0, the `name` of where it came from, and its BGR `pixels`."""

    index: int
    name: str
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class Source:
    """Something that gives frames.

    Attributes:
        name: as the user wrote it.
        kind: `video`, `picture`, `folder` or `live` (camera or network stream).
        count: frames it will give; None when nobody knows.
        fps: frames per second it was recorded at.
        frames: gives them, once; what it opened is released when it ends or is closed.
    """

    name: str
    kind: str
    count: int | None
    fps: float
    frames: Callable[[], Frames]


class Sink(Protocol):
    """Takes annotated frames in order; closed once, whatever happened."""

    def put(self, frame: Frame) -> None:
        """Takes one frame, which must not be changed afterwards."""

    def close(self) -> None:
        """Finishes the output."""


def silence_libraries(environ: Mapping[str, str] = os.environ) -> None:
    """Keeps OpenCV's and FFmpeg's own remarks off the terminal: what matters is said by our errors."""
    if "OPENCV_FFMPEG_LOGLEVEL" not in environ:
        os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"  # AV_LOG_QUIET; read when the first file is opened
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def open_source(text: str) -> Source:
    """Finds out what a user means by a video, picture, folder, camera number or stream address.

    Raises:
        MediaError: there is no such thing, or it holds no frames.
    """
    if text.isdecimal():
        return _live(text, int(text))
    if text.startswith(STREAM_SCHEMES):
        return _live(text, text)
    path = Path(text)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise MediaError(f"{text}: no such file; give a video, picture, folder, camera number or rtsp:// address")
    if path.suffix.lower() in PICTURE_SUFFIXES:
        frame = Frame(0, path.name, _read_picture(path))
        return Source(text, "picture", 1, DEFAULT_FPS, lambda: (only for only in [frame]))
    return _video(path)


def check_target(target: Path, source: Source) -> None:
    """Refuses a file name that cannot hold what the source gives, before any work is done.

    Raises:
        MediaError: the suffix does not fit, or the target is the source.
    """
    if target.resolve() == Path(source.name).resolve():
        raise MediaError(f"--save {target}: this is the source itself; save under another name")
    suffix = target.suffix.lower()
    if source.kind == "folder" and not suffix:
        return
    fitting = PICTURE_SUFFIXES if source.kind == "picture" else tuple(VIDEO_CODECS)
    if suffix not in fitting:
        other = ", or name a folder" if source.kind == "folder" else ""
        raise MediaError(f"--save {target}: a {source.kind} is saved as {', '.join(fitting)}; use one of these{other}")


def open_sink(target: Path, source: Source) -> Sink:
    """Makes the output for a checked target; nothing is written before the first frame."""
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
    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def put(self, frame: Frame) -> None:
        if self._writer is None:
            height, width = frame.pixels.shape[:2]
            self._size = (width, height)
            self._writer = self._open()
        pixels = frame.pixels
        if (pixels.shape[1], pixels.shape[0]) != self._size:  # pictures of a folder may differ
            pixels = cv2.resize(pixels, self._size)  # type: ignore[assignment]
        self._writer.write(pixels)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()

    def _open(self) -> cv2.VideoWriter:
        codec = VIDEO_CODECS[self._path.suffix.lower()]
        _make_folder(self._path.parent)
        with _standard_error_closed():
            fourcc = cv2.VideoWriter.fourcc(*codec)
            writer = cv2.VideoWriter(str(self._path), cv2.CAP_FFMPEG, fourcc, self._fps, self._size)
        if not writer.isOpened():
            raise MediaError(f"--save {self._path}: cannot be written as {codec} video; try another folder or .avi")
        return writer


class _PictureSink:
    def __init__(self, path: Path, *, is_folder: bool) -> None:
        self._path = path
        self._is_folder = is_folder

    def put(self, frame: Frame) -> None:
        path = self._path / frame.name if self._is_folder else self._path
        _make_folder(path.parent)
        with suppress(cv2.error):
            if cv2.imwrite(str(path), frame.pixels):
                return
        raise MediaError(f"--save {path}: cannot be written; try another folder")

    def close(self) -> None:
        pass


class _Window:
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


def _video(path: Path) -> Source:
    probe = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        readable = probe.isOpened() and probe.read()[0]
        count, fps = int(probe.get(cv2.CAP_PROP_FRAME_COUNT)), probe.get(cv2.CAP_PROP_FPS)
    finally:
        probe.release()
    if not readable:
        raise MediaError(f"{path}: no video that OpenCV can read; convert it to .mp4, or give a .jpg or .png picture")
    return Source(
        str(path),
        "video",
        count if count > 0 else None,
        fps if fps > 0 else DEFAULT_FPS,
        lambda: _captured(cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), path.name),
    )


def _live(text: str, device: int | str) -> Source:
    capture = cv2.VideoCapture(device)
    if not capture.isOpened():
        capture.release()
        raise MediaError(f"{text}: camera or stream cannot be opened; check its number or address and that it is on")
    fps = capture.get(cv2.CAP_PROP_FPS)
    return Source(text, "live", None, fps if fps > 0 else DEFAULT_FPS, lambda: _captured(capture, text))


def _captured(capture: cv2.VideoCapture, name: str) -> Frames:
    index = 0
    try:
        while True:
            read, pixels = capture.read()
            if not read:
                return
            yield Frame(index, name, pixels)  # type: ignore[arg-type]
            index += 1
    finally:
        capture.release()


def _folder(path: Path) -> Source:
    pictures = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in PICTURE_SUFFIXES)
    if not pictures:
        raise MediaError(f"{path}: no .jpg or .png pictures in this folder; give one that has some")
    return Source(
        str(path),
        "folder",
        len(pictures),
        DEFAULT_FPS,
        lambda: (Frame(index, picture.name, _read_picture(picture)) for index, picture in enumerate(pictures)),
    )


def _read_picture(path: Path) -> Pixels:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise MediaError(f"{path}: no picture that OpenCV can read; give a whole .jpg or .png file")
    return pixels  # type: ignore[return-value]


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
