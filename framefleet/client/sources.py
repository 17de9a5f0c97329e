"""Frames into the client: videos, pictures, folders, cameras and addresses -> [Frame]; a lack is said at the end."""

import os
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from framefleet.client.snapshot import PICTURE_SUFFIXES, snapshot
from framefleet.draw import Pixels
from framefleet.video import UnreadableVideo, Video, VideoFile

STREAM_SCHEMES = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://", "udp://", "srt://")
DEFAULT_FPS = 25.0
_PATIENCE_S = 10.0  # a camera without a frame for so long has broken off
_SPARE = 0.05
_NAMED = 3

Frames = Generator["Frame", None, None]


class MediaError(Exception):
    """A source cannot be read or a target cannot be written; the message says what to do."""


class Incomplete(MediaError):
    """A part of a source cannot be read; raised when the rest was given."""


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
        name: as the user wrote it, without the name and password of a camera.
        kind: `video`, `picture`, `folder` or `live` (camera or stream without an end).
        count: frames it will give; None when nobody knows.
        fps: frames per second it was recorded at.
        frames: gives them, once; what it opened is released when it ends or is closed. Raises `Incomplete` at its end
            where frames are missing: a damaged file, an unreadable picture, a camera that broke off.
    """

    name: str
    kind: str
    count: int | None
    fps: float
    frames: Callable[[], Frames]


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
    if camera := re.fullmatch(r"(?:/dev/video)?(\d+)", text):
        return _live(int(camera[1]))
    if text.startswith(STREAM_SCHEMES):
        return _address(text)
    path = Path(text)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise MediaError(f"{text}: no such file; give a video, picture, folder, camera number or rtsp:// address")
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return _picture(text, _read_picture(path))
    return _video(path)


def _video(path: Path) -> Source:
    try:
        with VideoFile(path) as probe:
            readable = next(probe.shots(), None) is not None
    except UnreadableVideo:
        readable = False
    if not readable:
        raise MediaError(
            f"{path}: no video that OpenCV can read: not whole, sound alone, or of a rare kind; give a whole file, "
            "convert it to .mp4, or give a .jpg or .png picture"
        )
    return Source(str(path), "video", probe.count, probe.fps, lambda: _of_file(path))


def _of_file(path: Path) -> Frames:
    with VideoFile(path) as video:
        for shot in video.shots():
            yield Frame(shot.index, path.name, shot.picture)
        if video.lost:
            raise Incomplete(
                f"{path}: {video.lost} of its {video.read + video.lost} frames cannot be read, {video.read} were sent; "
                "the file is damaged or breaks off"
            )


def _address(text: str) -> Source:
    if text.startswith(("http://", "https://")) and (picture := snapshot(text)) is not None:
        name = _without_secrets(text)
        return _picture(name, _decoded(picture, f"{name}: answers no whole picture that OpenCV can read"))
    return _live(text)


def _live(source: int | str) -> Source:
    name = _without_secrets(str(source))
    capture = cv2.VideoCapture(source)
    if not capture.isOpened():
        capture.release()
        raise MediaError(f"{name}: camera or stream cannot be opened; check its number or address and that it is on")
    stream = Video(capture, patience_s=_PATIENCE_S)
    kind = "live" if stream.count is None else "video"
    return Source(name, kind, stream.count, stream.fps, lambda: _of_stream(stream, name))


def _of_stream(stream: Video, name: str) -> Frames:
    """A file behind an address has an end; a camera that ends has broken off."""
    with stream:
        for shot in stream.shots():
            yield Frame(shot.index, name, shot.picture)
        promised = stream.count
        # The promise is a length at the usual rate, and sound may be a little longer than the picture.
        if promised is None or promised - stream.read > max(stream.fps, promised * _SPARE):
            of_all = "" if promised is None else f" of about {promised}"
            raise Incomplete(
                f"{name}: the stream ended after {stream.read}{of_all} frames; check the camera and the network, or "
                "download a clip before"
            )
        if stream.lost:
            raise Incomplete(f"{name}: {stream.lost} frames cannot be read, {stream.read} were sent; it is damaged")


def _folder(path: Path) -> Source:
    pictures = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in PICTURE_SUFFIXES)
    if not pictures:
        raise MediaError(f"{path}: no .jpg or .png pictures in this folder; give one that has some")
    return Source(str(path), "folder", len(pictures), DEFAULT_FPS, lambda: _of_folder(path, pictures))


def _of_folder(path: Path, pictures: Sequence[Path]) -> Frames:
    unreadable: list[str] = []
    for index, picture in enumerate(pictures):
        try:
            pixels = _read_picture(picture)
        except MediaError:
            unreadable.append(picture.name)
            continue
        yield Frame(index, picture.name, pixels)
    if unreadable:
        named = ", ".join(unreadable[:_NAMED]) + (", ..." if len(unreadable) > _NAMED else "")
        raise Incomplete(
            f"{path}: {len(unreadable)} of its {len(pictures)} pictures cannot be read ({named}); "
            f"{len(pictures) - len(unreadable)} were sent"
        )


def _picture(name: str, pixels: Pixels) -> Source:
    frame = Frame(0, Path(name).name, pixels)
    return Source(name, "picture", 1, DEFAULT_FPS, lambda: (only for only in [frame]))


def _read_picture(path: Path) -> Pixels:
    complaint = f"{path}: no picture that OpenCV can read; give a whole .jpg or .png file"
    try:
        return _decoded(path.read_bytes(), complaint)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error


def _decoded(data: bytes, complaint: str) -> Pixels:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # nothing in it, or larger than OpenCV takes
        pixels = None
    if pixels is None:
        raise MediaError(complaint)
    return pixels  # type: ignore[return-value]


def _without_secrets(address: str) -> str:
    """An address as it may be shown and kept: without the name and password of a camera."""
    return re.sub(r"(?<=://)[^/?#]*@", "", address)
