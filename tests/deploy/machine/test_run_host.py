import grp
import os
import pwd
import signal
import sys
from pathlib import Path

import pytest

from deploy.errors import CheckError
from deploy.machine import run_host
from deploy.machine.run_host import Folder
from tests.e2e.fleet import wait_until

USER = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(os.getgid()).gr_name


def alive(pid: int) -> bool:
    """False also for what has ended and only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_user_that_exists_is_not_made_again() -> None:
    assert run_host.ensure_user(USER, GROUP, Path("/")) is False


def test_folders_get_their_mode_also_where_they_exist(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o777)
    run_host.make_folders([Folder(tmp_path / name, 0o750, USER, GROUP) for name in ("there", "new")])
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("there", "new")] == [0o750, 0o750]


def test_a_link_changes_its_target_and_stays_a_link(tmp_path: Path) -> None:
    link = tmp_path / "current"
    for name in ("one", "two", "two"):
        (tmp_path / name).mkdir(exist_ok=True)
        run_host.point(link, tmp_path / name)
        assert link.readlink() == tmp_path / name
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two", "current"}


def test_a_model_is_placed_with_its_manifest_and_known_by_its_hash(tmp_path: Path) -> None:
    source, target = tmp_path / "m.onnx", tmp_path / "models" / "hash" / "m.onnx"
    source.write_text("weights")
    source.with_suffix(".json").write_text("{}")
    digest = run_host.sha256(source)
    assert not run_host.has_model(target, digest)
    listed = {f"model/{file.name}": run_host.sha256(file) for file in (source, source.with_suffix(".json"))}
    run_host.place_model(source, target, listed)
    assert run_host.has_model(target, digest)
    assert {path.name for path in target.parent.iterdir()} == {"m.onnx", "m.json"}
    target.write_text("damaged")
    assert not run_host.has_model(target, digest)


@pytest.mark.parametrize("changed", ["m.onnx", "m.json"])
def test_no_model_is_placed_that_did_not_come_with_the_release(tmp_path: Path, changed: str) -> None:
    source, target = tmp_path / "m.onnx", tmp_path / "models" / "hash" / "m.onnx"
    for file in (source, source.with_suffix(".json")):
        file.write_text("as packed")
    listed = {f"model/{name}": run_host.sha256(source) for name in ("m.onnx", "m.json")}
    (tmp_path / changed).write_text("another's")
    with pytest.raises(CheckError, match=rf"{changed}: is not the file that the bundle of this release holds"):
        run_host.place_model(source, target, listed)
    assert changed not in {path.name for path in target.parent.iterdir()}
    with pytest.raises(CheckError):
        run_host.place_model(source, target, {})


def test_a_log_that_is_a_link_is_not_written_to(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("")
    (tmp_path / "deploy.log").symlink_to(victim)
    with pytest.raises(OSError, match="Too many levels" if os.geteuid() == 0 else ""):
        run_host.append_line(tmp_path / "deploy.log", "text")
    assert victim.read_text() == ""
    run_host.append_line(tmp_path / "real.log", "text")
    run_host.append_line(tmp_path / "gone" / "real.log", "text")
    assert (tmp_path / "real.log").read_text().endswith("Z text\n")


def test_a_terminal_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    def gone(line: str) -> None:
        raise BrokenPipeError

    run_host.to_terminal_and_log(gone, tmp_path / "deploy.log")("text")
    assert "text" in (tmp_path / "deploy.log").read_text()


def test_a_folder_with_something_in_it_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "full" / "other").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for name in ("full", "empty", "none"):
        run_host.remove_if_empty(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize(
    ("then", "code"),
    [
        pytest.param("pass", 0, id="ends by itself"),
        pytest.param("signal.pause()", -signal.SIGTERM, id="ends when told"),
    ],
)
def test_a_trial_is_gone_afterwards_and_has_said_its_piece(tmp_path: Path, then: str, code: int) -> None:
    log, program = tmp_path / "trial.log", f"import signal; print('up', flush=True); {then}"
    command, environment = (sys.executable, "-c", program), {"PATH": os.environ["PATH"]}
    with run_host.trial_process(command, environment, tmp_path, log, USER) as child:
        wait_until("it has said its piece", lambda: log.read_text() == "up\n")
        if code == 0:
            wait_until("it has ended", lambda: child.poll() is not None)
    assert child.poll() == code


def test_what_a_trial_started_ends_with_it_even_if_it_will_not_listen(tmp_path: Path) -> None:
    deaf = "trap '' TERM; echo $$; exec sleep 600"
    log = tmp_path / "trial.log"
    command = ("sh", "-c", 'sh -c "$0" & wait', deaf)
    with run_host.trial_process(command, {"PATH": os.environ["PATH"]}, tmp_path, log, USER) as child:
        wait_until("its child runs", lambda: log.read_text().endswith("\n"))
        assert child.poll() is None
    wait_until("its child is gone", lambda: not alive(int(log.read_text())))
