from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from service.video import (
    Frame,
    MediaError,
    check_target,
    open_sink,
    open_source,
    open_window,
    silence_libraries,
)


@pytest.fixture(autouse=True)
def quiet() -> None:
    silence_libraries()


def picture(path: Path, size: tuple[int, int] = (48, 64), value: int = 90) -> Path:
    assert cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))
    return path


def read_video(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    return frames


def test_video_gives_every_frame_and_its_rate(sample_video: Path) -> None:
    source = open_source(str(sample_video))

    frames = list(source.frames())

    assert (source.kind, source.count, len(frames)) == ("video", 120, 120)
    assert source.fps == pytest.approx(29.97, abs=0.01)
    assert [frame.index for frame in frames] == list(range(120))
    assert frames[0].pixels.shape == (144, 176, 3)


def test_picture_is_one_frame(tmp_path: Path) -> None:
    source = open_source(str(picture(tmp_path / "a.PNG")))

    (frame,) = source.frames()

    assert (source.kind, source.count, frame.name) == ("picture", 1, "a.PNG")
    assert frame.pixels[0, 0].tolist() == [90, 90, 90]


def test_folder_gives_its_pictures_by_name(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")

    source = open_source(str(tmp_path))

    assert (source.kind, source.count) == ("folder", 2)
    assert [(frame.index, frame.name) for frame in source.frames()] == [(0, "a.jpg"), (1, "b.png")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.mp4", None, "missing.mp4: no such file; give a video, picture, folder"),
        ("text.mp4", b"no video", "text.mp4: no video that OpenCV can read"),
        ("empty.avi", b"", "empty.avi: no video that OpenCV can read"),
        ("broken.jpg", b"\xff\xd8\xff no picture", "broken.jpg: no picture that OpenCV can read"),
    ],
)
def test_unreadable_source_is_refused_with_the_fix(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(MediaError, match=message):
        open_source(str(tmp_path / name))


def test_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"no \.jpg or \.png pictures in this folder"):
        open_source(str(tmp_path))


def test_absent_camera_and_stream_are_refused(free_port: Callable[[], int]) -> None:
    for text in ("63", f"rtsp://127.0.0.1:{free_port()}/camera"):
        with pytest.raises(MediaError, match="camera or stream cannot be opened"):
            open_source(text)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi"])
def test_saved_video_has_every_frame_and_the_sources_rate(
    tmp_path: Path, sample_video: Path, capfd: pytest.CaptureFixture[str], suffix: str
) -> None:
    source, target = open_source(str(sample_video)), tmp_path / f"new/out{suffix}"
    check_target(target, source)

    sink = open_sink(target, source)
    for frame in source.frames():
        sink.put(frame)
    sink.close()

    saved = open_source(str(target))
    assert len(read_video(target)) == 120
    assert saved.fps == pytest.approx(source.fps, abs=0.01)
    assert capfd.readouterr().err == ""


def test_pictures_of_a_folder_are_saved_as_pictures_or_as_one_video(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    picture(tmp_path / "in/a.png", (48, 64))
    picture(tmp_path / "in/b.png", (96, 64))
    source = open_source(str(tmp_path / "in"))

    for target in (tmp_path / "out", tmp_path / "out.avi"):
        check_target(target, source)
        sink = open_sink(target, source)
        for frame in source.frames():
            sink.put(frame)
        sink.close()

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    assert [frame.shape for frame in read_video(tmp_path / "out.avi")] == [(48, 64, 3)] * 2


@pytest.mark.parametrize(
    ("source_name", "target_name", "message"),
    [
        ("a.png", "out.mp4", "a picture is saved as .jpg, .jpeg, .png; use one of these"),
        ("a.png", "out", "a picture is saved as .jpg"),
        ("", "out.jpg", "a folder is saved as .mp4, .webm, .avi; use one of these, or name a folder"),
        ("a.png", "a.png", "this is the source itself; save under another name"),
        ("", "", "this is the source itself"),
    ],
)
def test_target_that_does_not_fit_is_refused_before_any_work(
    tmp_path: Path, source_name: str, target_name: str, message: str
) -> None:
    picture(tmp_path / "a.png")

    with pytest.raises(MediaError, match=message):
        check_target(tmp_path / target_name, open_source(str(tmp_path / source_name)))


@pytest.mark.parametrize("name", ["out.avi", "out.jpg"])
def test_target_that_cannot_be_written_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    source = open_source(str(picture(tmp_path / "a.png")))
    sink = open_sink(tmp_path / "file" / name, source)

    with pytest.raises(MediaError, match=r"--save: .*file cannot be made"):
        sink.put(Frame(0, "a.png", np.zeros((8, 8, 3), np.uint8)))
    sink.close()


def test_window_without_a_display_is_refused_with_the_alternative() -> None:
    with pytest.raises(MediaError, match=r"--show: no display .* use --save out.mp4 instead"):
        open_window(lambda: None, environ={})
