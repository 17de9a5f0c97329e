"""One load at a time in a folder, and one against an address."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from loadtest.__main__ import main
from loadtest.errors import RunError
from loadtest.target.claim import LOCK, folder_claim, target_claim
from tests.loadtest.builders import make_run, sample
from tests.loadtest.fake_service import RIGHT, fake_service
from tests.loadtest.waiting import LIMIT_S, wait_until

URL = "http://127.0.0.1:20249"
WITH_IPV6 = pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")
HOLD = """
import sys, time
from pathlib import Path
from loadtest.target.claim import folder_claim, target_claim
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


@pytest.mark.parametrize(
    "url",
    [
        *(URL, f"{URL}/", "http://localhost:20249/detector", "https://127.0.0.1:20249", "HTTP://LocalHost:20249"),
        *(f"http://{host}:20249" for host in ("127.1", "2130706433", "0.0.0.0", "127.0.0.2", "[::ffff:127.0.0.1]")),
        pytest.param("http://[::1]:20249", marks=WITH_IPV6),
        pytest.param("http://[::]:20249", marks=WITH_IPV6),
    ],
)
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
    assert list(tmp_path.iterdir()) == []


def test_what_the_holder_starts_shares_its_claims(tmp_path: Path, repo_root: Path) -> None:
    with folder_claim(tmp_path), target_claim(URL), another(tmp_path, URL, repo_root):
        with folder_claim(tmp_path), target_claim(URL):
            pass
        # Nor does the end of a shared claim end the first one.
        assert (tmp_path / LOCK).read_text() == str(os.getpid())


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_of_someone_else_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=LOCK), folder_claim(tmp_path):
        pass


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunError, match=r"file/run: Not a directory; give another folder"),
        folder_claim(tmp_path / "file/run"),
    ):
        pass


@pytest.mark.parametrize("verb", [["replay"], ["scenario", "cameras"], ["capacity"]], ids=lambda verb: verb[0])
@pytest.mark.parametrize("shared", ["folder", "address"])
def test_every_verb_refuses_before_it_asks_anything(
    *,
    verb: list[str],
    shared: str,
    tmp_path: Path,
    repo_root: Path,
    sample_video: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    with fake_service(lambda number: RIGHT) as service:
        folder = (out / "cameras" if verb[0] == "scenario" else out) if shared == "folder" else tmp_path / "other"
        with another(folder, service.url if shared == "address" else URL, repo_root) as first:
            code = main([*verb, "--url", service.url, "--video", str(sample_video), "--out", str(out)])
        assert (code, service.posts, service.gets) == (1, 0, 0)
    assert f"process {first.pid} is" in capsys.readouterr().err


def test_a_report_is_not_made_of_a_run_that_goes_on(
    tmp_path: Path, repo_root: Path, sample_video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path, sample_video, [sample(0)])
    with another(tmp_path, URL, repo_root) as first:
        assert main(["report", str(tmp_path)]) == 1
    assert f"{tmp_path}: process {first.pid} is writing there" in capsys.readouterr().err
    assert not (tmp_path / "index.html").exists()


def test_a_replay_that_is_killed_takes_locust_along_and_frees_folder_and_address(
    tmp_path: Path, repo_root: Path, sample_video: Path
) -> None:
    with fake_service(lambda number: RIGHT) as service:
        arguments = ["replay", "--url", service.url, "--video", str(sample_video), "--max-frames", "2"]
        command = [sys.executable, "-m", "loadtest", *arguments, "--out", str(tmp_path)]
        first = subprocess.Popen([*command, "--seconds", "600"], cwd=repo_root, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: service.posts > 5)
            (child,) = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
            second = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, check=False)
            assert (second.returncode, second.stdout) == (1, "")
            assert f"process {first.pid} is writing there" in second.stderr
        finally:
            first.kill()
            first.wait(LIMIT_S)
        wait_until(lambda: not alive(child))
        third = subprocess.run([*command, "--seconds", "1"], cwd=repo_root, capture_output=True, text=True, check=False)
    assert third.returncode == 0, third.stdout + third.stderr


def alive(pid: str) -> bool:
    """Whether a process is there and no zombie that its new parent has not looked at yet."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_plain_locust_keeps_to_it_too(tmp_path: Path, repo_root: Path, sample_video: Path) -> None:
    locust = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        "loadtest/generate/locustfile.py",
        "--headless",
        "--loglevel",
        "ERROR",
    ]
    with fake_service(lambda number: RIGHT) as service, another(tmp_path, service.url, repo_root) as first:
        more = ["--host", service.url, "--video", str(sample_video), "--run-dir", str(tmp_path)]
        done = subprocess.run([*locust, *more], cwd=repo_root, capture_output=True, text=True, check=False)
        assert (done.returncode, service.posts) == (2, 0)
    assert f"process {first.pid} is writing there" in done.stderr


def test_a_lock_that_its_holder_removed_meanwhile_keeps_nobody_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened while another run held it, locked when that had ended: the file is not the folder's lock any more."""
    (tmp_path / LOCK).write_text("1")
    real = fcntl.flock
    taken: list[int] = []

    def flock(lock: TextIO, how: int) -> None:
        if not taken:
            (tmp_path / LOCK).unlink()
        real(lock, how)
        taken.append(os.fstat(lock.fileno()).st_ino)

    monkeypatch.setattr("loadtest.target.claim.fcntl.flock", flock)
    with folder_claim(tmp_path):
        assert (tmp_path / LOCK).stat().st_ino == taken[-1]
    assert len(taken) == 2
