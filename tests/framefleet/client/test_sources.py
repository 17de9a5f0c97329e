from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from framefleet.client.sources import MediaError, open_source, silence_libraries


@pytest.fixture(autouse=True)
def quiet() -> None:
    silence_libraries()


def picture(path: Path, size: tuple[int, int] = (48, 64), value: int = 90) -> Path:
    assert cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))
    return path


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
