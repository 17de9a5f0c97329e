"""One load at a time in a folder, and one against an address."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadtest.claim import LOCK, folder_claim, target_claim
from loadtest.errors import RunError

URL = "http://127.0.0.1:20249"
HOLD = """
import sys, time
from pathlib import Path
from loadtest.claim import folder_claim, target_claim
with folder_claim(Path(sys.argv[1])), target_claim(sys.argv[2]):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def another(folder: Path, url: str, root: Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), url], cwd=root, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_run_in_a_folder_is_refused_with_the_firsts_pid(tmp_path: Path, repo_root: Path) -> None:
    with another(tmp_path, URL, repo_root) as first, pytest.raises(RunError) as refused, folder_claim(tmp_path):
        pass
    pid = first.pid
    assert str(refused.value) == (
        f"{tmp_path}: process {pid} is writing there; wait for it, end it (kill {pid}), or give another folder"
    )


@pytest.mark.parametrize("url", [URL, f"{URL}/", "http://localhost:20249/detector", "https://127.0.0.1:20249"])
def test_a_second_load_against_an_address_is_refused_however_it_is_written(
    url: str, tmp_path: Path, repo_root: Path
) -> None:
    with another(tmp_path, URL, repo_root) as first, pytest.raises(RunError) as refused, target_claim(url):
        pass
    assert f"{url}: process {first.pid} is loading it" in str(refused.value)
    assert f"kill {first.pid}" in str(refused.value)


def test_another_folder_and_another_port_are_free(tmp_path: Path, repo_root: Path) -> None:
    with another(tmp_path / "one", URL, repo_root), folder_claim(tmp_path / "two"), target_claim(URL[:-1] + "8"):
        pass


def test_a_killed_holder_leaves_nothing_behind(tmp_path: Path, repo_root: Path) -> None:
    with another(tmp_path, URL, repo_root) as first:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        with folder_claim(tmp_path), target_claim(URL):
            assert (tmp_path / LOCK).read_text() == str(os.getpid())
    with folder_claim(tmp_path), target_claim(URL):
        pass


def test_what_the_holder_starts_shares_its_claims(tmp_path: Path, repo_root: Path) -> None:
    with folder_claim(tmp_path), target_claim(URL), another(tmp_path, URL, repo_root):
        with folder_claim(tmp_path), target_claim(URL):
            pass
        # Nor does the end of a shared claim end the first one.
        assert (tmp_path / LOCK).read_text() == str(os.getpid())


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_of_someone_else_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="Permission denied; give another folder with --out"), folder_claim(tmp_path):
        pass


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunError, match=r"file/run: Not a directory; give another folder"),
        folder_claim(tmp_path / "file/run"),
    ):
        pass
