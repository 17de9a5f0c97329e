import hashlib
import hmac
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import StartError
from service.keys import BadKeyFile, Key, KeyRing, add_key, read_keys
from tests.users import NOBODY, as_root, as_user

ROOT = Path(__file__).resolve().parents[2]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# ours\n\ncam1:{sha256('one')}:detect\nboss:{sha256('two')}:detect,operate\n")
    return path


@as_root
def test_a_key_is_written_through_no_link_that_the_folders_owner_planted(file: Path) -> None:
    (secret := file.with_name("secret")).write_text("root's")
    for guess in (f".keys.{os.getpid()}", ".keys.new"):
        file.with_name(guess).symlink_to(secret)
    add_key(file, "new", ("detect",))
    assert secret.read_text() == "root's"
    assert [key.name for key in read_keys(file)] == ["cam1", "boss", "new"]


def test_a_key_is_found_by_its_hash_and_nothing_else_is(file: Path) -> None:
    ring = KeyRing(file)
    assert ring.find("two") == Key("boss", sha256("two"), frozenset({"detect", "operate"}))
    assert [ring.find(text) for text in ("", "One", sha256("one"), "cam1", "☃")] == [None] * 5


def test_every_key_is_compared_in_constant_time_whether_or_not_one_fits(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[str, str]] = []

    def compare(known: str, given: str) -> bool:
        compared.append((known, given))
        return known == given

    monkeypatch.setattr(hmac, "compare_digest", compare)
    ring = KeyRing(file)
    for text in ("one", "two", "none"):
        compared.clear()
        ring.find(text)
        assert compared == [(sha256("one"), sha256(text)), (sha256("two"), sha256(text))]


def test_a_changed_file_is_read_within_a_second_and_not_at_every_request(file: Path) -> None:
    clock = Clock()
    ring = KeyRing(file, clock)
    file.write_text(f"cam2:{sha256('three')}:detect\n")
    clock.now = 0.9
    assert (ring.find("one"), ring.find("three")) != (None, None) and ring.find("three") is None
    clock.now = 1.0
    assert ring.find("one") is None
    assert ring.find("three") is not None


def test_a_file_that_breaks_leaves_the_keys_as_they_were(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    ring = KeyRing(file, clock)
    file.write_text("my-secret-in-the-wrong-place\n")
    clock.now = 1.0
    assert ring.find("one") is not None
    logged = capsys.readouterr().err
    assert "keys_not_reloaded" in logged and "keys:1" in logged and "my-secret" not in logged
    file.unlink()
    clock.now = 2.0
    assert ring.find("one") is not None
    file.touch()
    clock.now = 3.0
    assert ring.find("one") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("cam1\n", "not name:sha256:scopes", id="no columns"),
        pytest.param(f"cam 1:{sha256('x')}:detect\n", "not name:sha256:scopes", id="name"),
        pytest.param("cam1:abc:detect\n", "not name:sha256:scopes", id="hash"),
        pytest.param(f"cam1:{sha256('x')}:\n", "scopes are detect and operate", id="no scope"),
        pytest.param(f"cam1:{sha256('x')}:root\n", "scopes are detect and operate", id="other scope"),
        pytest.param(f"a:{sha256('x')}:detect\na:{sha256('y')}:detect\n", "twice", id="name twice"),
    ],
)
def test_a_bad_file_stops_the_start_with_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(StartError, match=said):
        KeyRing(tmp_path / "keys")


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"FRAMEFLEET_KEYS: .*No such file.*make key"):
        KeyRing(tmp_path / "none")


def test_a_new_key_is_added_to_those_that_are_there_and_stands_there_as_a_hash_alone(file: Path) -> None:
    secret = add_key(file, "cam2", ["detect"])
    assert len(secret) > 40
    assert secret not in file.read_text()
    assert [key.name for key in read_keys(file)] == ["cam1", "boss", "cam2"]
    assert file.read_text().startswith("# ours\n")
    found = KeyRing(file).find(secret)
    assert found is not None and found.name == "cam2"


def test_a_file_that_is_made_anew_can_be_read_by_the_instances_user_and_a_changed_one_keeps_its_mode(
    tmp_path: Path,
) -> None:
    add_key(tmp_path / "keys", "cam1", ["detect"])
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o644
    (tmp_path / "keys").chmod(0o640)
    add_key(tmp_path / "keys", "cam2", ["detect"])
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(("name", "said"), [("cam1", "is there already"), ("a b", "no plain name"), ("", "no plain")])
def test_a_name_that_will_not_do_changes_nothing(file: Path, name: str, said: str) -> None:
    before = file.read_text()
    with pytest.raises(BadKeyFile, match=said):
        add_key(file, name, ["detect"])
    assert file.read_text() == before


def test_the_command_shows_the_key_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service.keys", "cam1", "--file", str(tmp_path / "var" / "keys")]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert KeyRing(tmp_path / "var" / "keys").find(made.stdout.strip()) is not None
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.count("\n") == 1 and "is there already" in again.stderr


@as_root
def test_a_file_of_root_in_ones_own_folder_is_named_and_left_as_it_was(open_folder: Path) -> None:
    file = open_folder / "keys"
    add_key(file, "anna", ["detect"])
    os.chown(open_folder, NOBODY, NOBODY)
    before = file.read_text()
    told = as_user(NOBODY, lambda: add_key(file, "ben", ["detect"]))
    assert told == f"[Errno 1] Operation not permitted: '{file}'"
    assert (file.read_text(), list(open_folder.iterdir())) == (before, [file])


def test_a_key_gets_a_line_of_its_own_where_an_editor_left_the_last_one_open(file: Path) -> None:
    file.write_text(file.read_text().rstrip("\n"))
    add_key(file, "new", ("detect",))
    assert [key.name for key in read_keys(file)] == ["cam1", "boss", "new"]
