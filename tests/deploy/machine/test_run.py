import os
import signal
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from deploy.errors import ControlError
from deploy.machine import run
from deploy.machine.processes import Process
from deploy.machine.run import fleet_lock
from deploy.machine.run_lock import lock_holder
from deploy.paths import Paths, local_paths
from deploy.rendered_file import RenderedFile

OLD = (RenderedFile(PurePosixPath("a/x.conf"), "old"), RenderedFile(PurePosixPath("gone.conf"), "old"))
NEW = (RenderedFile(PurePosixPath("a/x.conf"), "new", 0o600),)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = local_paths(tmp_path)
    run.make_folders(paths)
    return paths


def test_replacing_the_configuration_leaves_exactly_the_new_files(paths: Paths) -> None:
    run.replace_etc(paths, OLD)
    run.replace_etc(paths, NEW)
    assert run.holds(paths.etc, NEW) and not run.holds(paths.etc, OLD)
    assert (paths.etc / "a/x.conf").stat().st_mode & 0o777 == 0o600


def test_what_is_replaced_stays_to_be_looked_at(paths: Paths) -> None:
    run.replace_etc(paths, OLD)
    run.replace_etc(paths, NEW)
    run.replace_etc(paths, OLD)
    assert run.holds(paths.etc, OLD)
    assert run.holds(paths.etc_previous, NEW)


def test_a_fleet_is_worked_on_by_one_at_a_time(paths: Paths) -> None:
    busy = rf"busy with `up` by .* \(pid {os.getpid()}\), since 0 s; wait for it to end"
    with fleet_lock(paths, "`up`"), pytest.raises(ControlError, match=busy), fleet_lock(paths, "`down`"):
        pass
    with fleet_lock(paths, "`up`"):
        holder = lock_holder(paths.lock)
        assert holder and (holder.what, holder.pid) == ("`up`", os.getpid())
    # The kernel may give this id to any process from now on.
    assert lock_holder(paths.lock) is None


@pytest.mark.parametrize(
    ("code", "expected"),
    [("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", 128 + 9), ("pass", 0)],
    ids=["code", "signal", "success"],
)
def test_a_commands_exit_code_is_passed_on(code: str, expected: int) -> None:
    assert run.run_in_foreground([sys.executable, "-c", f"import os, sys; {code}"]) == expected


def test_a_missing_command_has_the_shells_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.run_in_foreground(["no-such-command"]) == 127
    assert capsys.readouterr().err == "no-such-command: No such file or directory; check the command after --\n"


def test_signal_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with run.handling({signal.SIGTERM: lambda *_: None}):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_is_sent_only_to_a_process_that_is_still_ours() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = Process(child.pid, os.getpid(), "instance")
        run.send(process, signal.SIGKILL, lambda: False)
        assert child.poll() is None
        run.send(process, signal.SIGKILL, lambda: True)
        assert child.wait(10) == -signal.SIGKILL
    run.send(process, signal.SIGKILL, lambda: True)  # gone: nothing to do


def test_a_large_log_is_set_aside_and_a_small_one_left(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text("x" * 10)
    assert not run.rotate(log, 10)
    assert log.exists()
    assert run.rotate(log, 9)
    assert (log.exists(), (tmp_path / "access.log.1").read_text()) == (False, "x" * 10)
    assert not run.rotate(log, 9)


def test_removing_takes_files_folders_and_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "file").touch()
    run.remove(tmp_path / "folder", tmp_path / "file", tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_whole_with_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old and longer")
    run.write_text(file, "new", 0o600)
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_in_a_files_place_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(ControlError, match=r"file: is a folder; remove it: rm -r "):
        run.write_text(tmp_path / "file", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_machine_is_looked_at(tmp_path: Path) -> None:
    machine = run.host_facts(tmp_path / "nginx", {})
    assert machine.nginx == tmp_path / "nginx"
    assert machine.cores >= 1 and machine.open_files > 0


def test_the_code_is_the_one_that_runs() -> None:
    code = run.this_code()
    assert (code.repo / "service" / "server" / "gunicorn.conf.py").is_file()
    assert code.python == Path(sys.executable)
