"""Whose a fleet is: what runs, and what is left, of other users'."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.errors import ControlError
from deploy.machine.ownership import in_roots_way, note_of_root, refuse_strangers, resolved, running_stranger
from deploy.paths import Paths, local_paths
from tests.users import NOBODY, as_user

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")


@pytest.fixture
def paths(open_folder: Path) -> Paths:
    made = local_paths(open_folder / "var")
    for folder in made.folders():
        folder.mkdir(parents=True)
    for path in (made.state, *made.state.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    return made


def refused(paths: Paths, uid: int = NOBODY) -> str:
    return str(as_user(uid, lambda: refuse_strangers(paths)) or "")


def test_ones_own_files_are_no_problem(paths: Paths) -> None:
    assert refused(paths) == ""


@pytest.mark.parametrize("place", ["run/lock", "log/cpu0.log", "etc/nginx/nginx.conf", "etc.previous/x", "tmp/body/1"])
def test_what_root_left_is_told_with_the_command_that_gives_all_of_it(paths: Paths, place: str) -> None:
    file = paths.state / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(0o644)
    told = refused(paths)
    assert f"belongs to root, and you are nobody; `sudo chown -R nobody: {paths.state}`, or name a folder" in told
    os.chmod(paths.run, 0o700)
    assert refused(paths, uid=0) == ""


def test_a_fleet_of_root_is_told_with_its_supervisord(paths: Paths) -> None:
    code = "import time; print('up', flush=True); time.sleep(600)"
    command = [sys.executable, "-c", code, str(paths.supervisor_conf)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisord:
        try:
            assert supervisord.stdout
            supervisord.stdout.readline()
            assert refused(paths).startswith(
                f"{paths.state}: a fleet of root runs here (supervisord, pid {supervisord.pid}), and you are nobody; "
            )
            assert running_stranger(paths) is None  # root's own
        finally:
            supervisord.kill()


def in_the_way(paths: Paths) -> list[str]:
    return [str(problem) for problem in in_roots_way(paths)]


def test_root_starts_no_fleet_where_another_user_chooses_what_it_reads_and_writes(paths: Paths) -> None:
    told = in_the_way(paths)
    assert told[0] == (
        f"{paths.state}: belongs to nobody, who could choose what root runs from there; "
        "use `sudo -u nobody make`, or name a folder of root's own (VAR=)"
    )
    assert told[1].startswith(f"{paths.etc}: belongs to nobody, and you are root; `chown -R root: {paths.state}`, or")
    assert as_user(NOBODY, lambda: in_the_way(paths)) == []
    secret = paths.state.with_name("secret")
    secret.write_text("")
    (paths.log / "cpu0.log").symlink_to(secret)
    os.mkfifo(paths.run / "nginx.pid")
    os.link(secret, paths.run / "supervisord.pid")
    (paths.run / "lock").touch()
    subprocess.run(["chown", "-R", "root:", paths.state], check=True)
    assert sorted(in_the_way(paths)) == [
        f"{paths.log}/cpu0.log: is a link or a fifo, which root does not write through; rm {paths.log}/cpu0.log",
        f"{paths.run}/nginx.pid: is a link or a fifo, which root does not write through; rm {paths.run}/nginx.pid",
        f"{paths.run}/supervisord.pid: has another name elsewhere, which root does not write through; "
        f"rm {paths.run}/supervisord.pid",
    ]
    for place in ("log/cpu0.log", "run/nginx.pid", "run/supervisord.pid"):
        (paths.state / place).unlink()
    assert in_the_way(paths) == []


@pytest.mark.parametrize(
    ("place", "mode", "told"),
    [
        ("var", 0o777, True),
        ("var", 0o1777, True),
        ("var/etc", 0o777, True),
        ("var/log", 0o1777, True),
        ("", 0o777, True),
        ("", 0o1777, False),
        ("var", 0o755, False),
    ],
)
def test_root_starts_no_fleet_where_others_may_swap_what_it_runs(
    paths: Paths, place: str, mode: int, told: bool
) -> None:
    subprocess.run(["chown", "-R", "root:", paths.state], check=True)
    folder = paths.state.parent / place
    folder.chmod(mode)
    what = (
        f"{folder}: may be written by others (mode {mode:o}), who could choose what root runs; chmod go-w {folder}, or"
    )
    assert [line.partition(" name a folder")[0] for line in in_the_way(paths)] == [what] * told
    assert as_user(NOBODY, lambda: in_the_way(paths)) == []


def test_a_group_may_write_where_root_runs_a_fleet_if_it_is_roots(paths: Paths) -> None:
    subprocess.run(["chown", "-R", "root:", paths.state], check=True)
    paths.log.chmod(0o775)
    assert in_the_way(paths) == []
    os.chown(paths.log, 0, NOBODY)
    assert [line.partition(": ")[0] for line in in_the_way(paths)] == [str(paths.log)]


def test_root_goes_through_no_link_to_a_fleet_that_another_user_put_there(open_folder: Path) -> None:
    theirs = open_folder / "theirs"
    theirs.mkdir()
    (theirs / "var").symlink_to("/")
    for path in (theirs, theirs / "var"):
        os.lchown(path, NOBODY, NOBODY)
    with pytest.raises(ControlError, match=rf"{theirs}/var: is a link, and another user than root may have put it"):
        resolved(theirs / "var")
    assert as_user(NOBODY, lambda: resolved(theirs / "var")) == Path("/")
    (open_folder / "var").symlink_to("new")
    assert resolved(open_folder / "var") == open_folder / "new"


def test_root_is_told_before_it_writes_into_another_users_folder(paths: Paths) -> None:
    assert note_of_root(paths) == (
        f"note: {paths.state} belongs to nobody, who cannot use what root leaves in it; "
        f"when it is down: `chown -R nobody: {paths.state}`"
    )
    assert as_user(NOBODY, lambda: note_of_root(paths)) == ""
    assert note_of_root(local_paths(Path("/run/framefleet-none"))) == ""
