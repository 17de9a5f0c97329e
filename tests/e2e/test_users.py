"""A checkout that root and others run in turn: whose the fleet and its files are is said, with the way out."""

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.users import OWNER, ROOT_USER, STRANGER, Checkout, checkout, python_for_everybody

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")]


@pytest.fixture(scope="module")
def python() -> str:
    return python_for_everybody() or pytest.skip("no Python that other users can run with these packages")


@pytest.fixture
def shared(python: str, free_port: Callable[[], int]) -> Iterator[Checkout]:
    with checkout(python, free_port(), free_port()) as made:
        yield made


@pytest.mark.parametrize("umask", [0o022, 0o077], ids=["open", "closed"])
def test_the_fleet_of_root_is_told_to_its_folders_owner(shared: Checkout, umask: int) -> None:
    up = shared.run(ROOT_USER, "deploy", "up", *shared.up, umask=umask)
    assert (up.returncode, up.stderr) == (0, "")
    assert "belongs to nobody, who cannot use what root leaves in it; when it is down: `chown -R nobody: " in up.stdout
    give = f"sudo chown -R nobody: '{shared.var}'"
    for verb in ("status", "smoke", "down", "up", "exec"):
        options = (*shared.up,) if verb in ("up", "exec") else ()
        done = shared.run(OWNER, "deploy", verb, *options, *(("--", "true") if verb == "exec" else ()))
        assert done.returncode == 1
        told = re.escape(f"{shared.var}: a fleet of root runs here (supervisord, pid N), and you are nobody; ")
        told += re.escape(f"ask as root (`sudo make status`); to take it over: `sudo make down`, then `{give}`\n")
        assert re.fullmatch(told.replace("N", r"\d+", 1), done.stderr), verb
    logs = shared.run(OWNER, "deploy", "logs", "--no-follow")
    assert "cpu0" in logs.stdout if umask == 0o022 else "belongs to root, and you are nobody" in logs.stderr

    assert shared.run(ROOT_USER, "deploy", "down", umask=umask).returncode == 0
    refused = shared.run(OWNER, "deploy", "up", *shared.up)
    assert refused.returncode == 1
    left = rf"{re.escape(str(shared.var))}\S*: belongs to root, and you are nobody; "
    assert re.fullmatch(rf"{left}`{re.escape(give)}`, or name a folder of your own \(VAR=\)\n", refused.stderr)
    subprocess.run(shlex.split(give.removeprefix("sudo ")), check=True)
    assert shared.run(OWNER, "deploy", "up", *shared.up).returncode == 0
    assert shared.run(OWNER, "deploy", "status").returncode == 0
    assert shared.run(OWNER, "deploy", "down").returncode == 0


def test_the_fleet_of_a_user_is_theirs_alone_to_change_and_roots_to_stop(shared: Checkout) -> None:
    assert shared.run(OWNER, "deploy", "up", *shared.up).returncode == 0
    for verb in ("status", "down", "up"):
        done = shared.run(STRANGER, "deploy", verb, *(shared.up if verb == "up" else ()))
        assert done.returncode == 1
        assert "a fleet of nobody runs here" in done.stderr
        assert "and you are user 54321; ask as nobody (`sudo -u nobody make status`)" in done.stderr
        assert f"`sudo chown -R 54321 '{shared.var}'`" in done.stderr
    assert shared.run(ROOT_USER, "deploy", "status").returncode == 0
    mixed = shared.run(ROOT_USER, "deploy", "up", *shared.up)
    assert mixed.returncode == 1
    assert "a fleet of nobody runs here" in mixed.stderr
    assert shared.run(ROOT_USER, "deploy", "down").returncode == 0
    assert shared.run(OWNER, "deploy", "up", *shared.up).returncode == 0


def test_root_stops_a_fleet_of_a_user_and_follows_nothing_that_they_planted(
    shared: Checkout, open_folder: Path
) -> None:
    secret = open_folder / "secret"
    secret.write_text("root:SECRET\n")
    secret.chmod(0o600)
    assert shared.run(OWNER, "deploy", "up", *shared.up).returncode == 0
    lock, pid, log = shared.var / "run/lock", shared.var / "run/nginx.pid", shared.var / "log/planted.log"
    for link in (lock, pid, log):
        link.unlink(missing_ok=True)
        link.symlink_to(secret)
        os.lchown(link, OWNER, OWNER)
    logs = shared.run(ROOT_USER, "deploy", "logs", "--no-follow")
    assert f"{log}: is a link, and another user than root may have put it there" in logs.stdout
    refused = shared.run(ROOT_USER, "deploy", "down")
    fix = f"look what it is and who put it there (ls -l), then remove it: rm -r {lock}"
    assert refused.stderr == f"{lock}: is a link, and another user than root may have put it there; {fix}\n"
    lock.unlink()
    assert shared.run(ROOT_USER, "deploy", "down").returncode == 0
    up = shared.run(ROOT_USER, "deploy", "up", *shared.up)
    assert (up.returncode, f"{shared.var}/etc: belongs to nobody, and you are root" in up.stderr) == (1, True), (
        up.stderr
    )
    assert (secret.read_text(), secret.stat().st_uid, "SECRET" in logs.stdout) == ("root:SECRET\n", 0, False)


def test_a_checkout_of_somebody_else_is_told_so_by_every_command(shared: Checkout) -> None:
    shared.give(ROOT_USER)
    whose = f"{shared.folder} belongs to root, and you are nobody: sudo chown -R nobody: '{shared.folder}'"
    for command in (("deploy", "up", *shared.up), ("deploy", "render", *shared.up), ("service.keys", "anna")):
        done = shared.run(OWNER, *command)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "permission denied; " + whose in line


def test_a_folder_that_its_owner_has_closed_is_told_so(shared: Checkout) -> None:
    shared.var.mkdir()
    shared.give(OWNER)
    shared.var.chmod(0o555)
    done = shared.run(OWNER, "deploy", "up", *shared.up)
    assert done.returncode == 1
    assert f"{shared.var} is yours, but its mode forbids it: chmod -R u+rwX '{shared.var}'" in done.stderr


def test_nothing_of_the_systems_is_offered_to_be_given_away(shared: Checkout) -> None:
    done = shared.run(OWNER, "service.keys", "anna", "--file", "/etc/framefleet-keys")
    assert done.returncode == 1
    assert "/etc belongs to root, and you are nobody: run this as root (sudo ...), or choose" in done.stderr
    assert "chown" not in done.stderr
