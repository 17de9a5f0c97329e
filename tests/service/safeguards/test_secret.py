"""All instances of a host come to one secret, whoever is first; whatever is wrong with it keeps none from starting."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.safeguards.quarantine import FILE, SECRET_BYTES, host_secret

PROCESSES = 8


def test_whoever_is_first_makes_it_and_all_have_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "shared"
    with ThreadPoolExecutor(PROCESSES) as pool:
        found = set(pool.map(host_secret, [folder] * PROCESSES))
    assert len(found) == 1 and host_secret(folder) in found
    assert [file.name for file in folder.iterdir()] == [FILE]
    assert (folder / FILE).stat().st_mode & 0o777 == 0o600


def test_another_folder_has_another(tmp_path: Path) -> None:
    assert host_secret(tmp_path / "one") != host_secret(tmp_path / "two")


@pytest.mark.parametrize("content", [b"", b"short", b"x" * (SECRET_BYTES + 1)], ids=["empty", "cut off", "longer"])
def test_a_damaged_one_is_made_anew(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert host_secret(tmp_path) == host_secret(tmp_path)
    assert len((tmp_path / FILE).read_bytes()) == SECRET_BYTES


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_is_no_file_is_replaced_and_never_waited_for(kind: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"known to")
    if kind == "pipe":
        os.mkfifo(tmp_path / FILE)
    else:
        (tmp_path / FILE).symlink_to("elsewhere")
    assert host_secret(tmp_path) == host_secret(tmp_path) != int.from_bytes(b"known to", "big")
    assert (tmp_path / "elsewhere").read_bytes() == b"known to"


def test_where_there_can_be_none_each_process_has_its_own_and_the_log_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / FILE).mkdir()
    assert host_secret(tmp_path) != host_secret(tmp_path)
    assert '"event": "no_host_secret"' in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == [FILE]
    (tmp_path / "file").touch()
    assert host_secret(tmp_path / "file") != host_secret(tmp_path / "file")
