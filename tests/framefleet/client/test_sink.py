from pathlib import Path

import cv2
import numpy as np
import pytest

from framefleet.client.sink import open_sink, open_window, target_for
from framefleet.client.sources import Frame, MediaError, open_source, silence_libraries
from tests.users import NOBODY, as_root, as_user


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


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi"])
def test_saved_video_has_every_frame_and_the_sources_rate(
    tmp_path: Path, sample_video: Path, capfd: pytest.CaptureFixture[str], suffix: str
) -> None:
    source, target = open_source(str(sample_video)), tmp_path / f"new/out{suffix}"
    assert target_for(target, source) == target

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
        assert target_for(target, source) == target
        sink = open_sink(target, source)
        for frame in source.frames():
            sink.put(frame)
        sink.close()

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    assert [frame.shape for frame in read_video(tmp_path / "out.avi")] == [(48, 64, 3)] * 2


@pytest.mark.parametrize(
    ("source_name", "target_name", "message"),
    [
        ("a.png", "out.gif", "a picture is saved as .jpg, .jpeg, .png; use one of these"),
        ("a.jpg", "a.mp4", "a.jpg: this is the source itself"),
        ("a.png", "out", "a picture is saved as .jpg"),
        ("", "out.jpg", "a folder is saved as .mp4, .webm, .avi; use one of these, or name a folder"),
        ("a.png", "a.png", "this is the source itself; save under another name"),
        ("", "", "this is the source itself"),
        ("", "folder.mp4", "folder.mp4: this is a folder; name a file in it"),
        ("a.png", "folder.jpg", "folder.jpg: this is a folder; name a file in it"),
    ],
)
def test_target_that_does_not_fit_is_refused_before_any_work(
    tmp_path: Path, source_name: str, target_name: str, message: str
) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "a.jpg")
    for folder in ("folder.mp4", "folder.jpg"):
        (tmp_path / folder).mkdir()

    with pytest.raises(MediaError, match=message):
        target_for(tmp_path / target_name, open_source(str(tmp_path / source_name)))


@pytest.mark.parametrize("name", ["out.avi", "out.jpg"])
def test_target_that_cannot_be_written_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    source = open_source(str(picture(tmp_path / "a.png")))
    sink = open_sink(tmp_path / "file" / name, source)

    with pytest.raises(MediaError, match=r"--save: .*file cannot be made"):
        sink.put(Frame(0, "a.png", np.zeros((8, 8, 3), np.uint8)))
    sink.close()


@as_root
@pytest.mark.parametrize("name", ["a.mp4", "a.jpg"])
def test_a_target_in_anothers_folder_says_whose_it_is(open_folder: Path, name: str) -> None:
    source = open_source(str(picture(open_folder / "a.png")))
    put = open_sink(open_folder / name, source).put
    told = as_user(NOBODY, lambda: put(Frame(0, "a.png", np.zeros((16, 16, 3), np.uint8))))
    assert told.startswith(
        f"--save {open_folder / name}: permission denied; {open_folder} belongs to root, and you are"
    )


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi"])
def test_a_picture_that_is_to_be_saved_as_a_video_is_saved_as_a_picture(tmp_path: Path, suffix: str) -> None:
    source = open_source(str(picture(tmp_path / "a.png")))
    assert target_for(tmp_path / f"detect{suffix}", source) == tmp_path / "detect.jpg"


def test_window_without_a_display_is_refused_with_the_alternative() -> None:
    with pytest.raises(MediaError, match=r"--show: no display .* use --save out.mp4 instead"):
        open_window(lambda: None, environ={})
