"""Files that people write are read with the mark some editors put in front; other encodings are told."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.machine.devices import devices_to_json
from deploy.verbs.hosts import _read_devices
from framefleet.text_file import NotText, read_text
from loadtest.scenario import profile
from service.keys import add_key, read_keys
from service.models.__main__ import read_names
from tests.deploy.inventories import TWO_GPUS

MARK = b"\xef\xbb\xbf"


def names(file: Path) -> object:
    return read_names(str(file))


def keys(file: Path) -> object:
    return [key.name for key in read_keys(file)]


READERS: dict[str, tuple[Callable[[Path], object], bytes]] = {
    "names": (names, b"cat\ndog\n"),
    "keys": (keys, b"anna:" + b"0" * 64 + b":detect\n"),
    "devices": (_read_devices, devices_to_json(TWO_GPUS).encode()),
    "profile.toml": (lambda file: profile.read(str(file)).about, (profile.FOLDER / "single.toml").read_bytes()),
}


@pytest.mark.parametrize("name", READERS)
def test_a_mark_and_foreign_line_ends_change_nothing(name: str, tmp_path: Path) -> None:
    read, content = READERS[name]
    plain, marked = tmp_path / "plain" / name, tmp_path / "marked" / name
    for file, data in ((plain, content), (marked, MARK + content.replace(b"\n", b"\r\n"))):
        file.parent.mkdir()
        file.write_bytes(data)
    assert read(marked) == read(plain)


@pytest.mark.parametrize("name", READERS)
def test_another_encoding_is_told(name: str, tmp_path: Path) -> None:
    read, content = READERS[name]
    file = tmp_path / name
    file.write_bytes(content.decode().encode("utf-16"))
    with pytest.raises(Exception, match="is UTF-16, as some editors write it"):
        read(file)


def test_a_key_that_is_added_to_a_marked_file_leaves_the_others(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(MARK + READERS["keys"][1])
    add_key(file, "ben", ["detect"])
    assert [key.name for key in read_keys(file)] == ["anna", "ben"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\nb\xfc\n", r"line 2 is not UTF-8, but perhaps Latin-1 \(byte 0xfc\)"),
        (MARK + b"\xfc", "line 1 is not UTF-8"),
        ("x".encode("utf-32"), "is UTF-16"),
    ],
)
def test_where_a_text_is_none_is_told(data: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    with pytest.raises(NotText, match=message):
        read_text(file)


def test_a_text_is_what_it_was_without_its_mark(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(MARK + "\ufeffé\r\nb\rc".encode())
    assert read_text(file) == "\ufeffé\nb\nc"
    file.write_bytes(b"")
    assert read_text(file) == ""


def test_what_has_no_end_is_no_text() -> None:
    with pytest.raises(NotText, match="has over 64 MiB") as refused:
        read_text(Path("/dev/zero"))
    assert refused.value.fix == "name another file"
