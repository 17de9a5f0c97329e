"""Whatever goes wrong in a command line, the terminal gets one line and the process an exit code."""

import ast
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.users import NOBODY, as_root

FOLDERS = ("framefleet", "service", "deploy", "loadtest", "chaos", "bench")
PEERS = ROOT / "bench" / "peers"
# Peers run in environments of their own, without these packages, and their keeper and generator without any.
ELSEWHERE = {PEERS / "generator.py", PEERS / "keeper.py", *(PEERS / "servers").iterdir()}
MODULES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) if path not in ELSEWHERE]
HEADER = re.compile(
    r'"""\n\nif __name__ == "__main__":\n'
    r'    from framefleet\.command import carry_out\n\n    carry_out\("(?P<name>[\w.]+)"\)\n'
)
PROGRAMS = {
    str(path.relative_to(ROOT)): found["name"] for path in MODULES if (found := HEADER.search(path.read_text()))
}
WITHOUT_PACKAGES = {"bench.delay", "deploy.ship.bootstrap", "framefleet.pip", "service.keys", "service.settings_page"}
# These read no options of their own, and work at once.
WITHOUT_OPTIONS = {
    *(f"bench.{name}" for name in ("bare_server", "check_trt", "encoding_boxes", "jpeg_scaling", "peers.bare")),
    "deploy.guard.balancer",
    "deploy.guard.recovery",
    *WITHOUT_PACKAGES - {"service.keys"},
}
FAILING = """
import atexit, errno, os, signal, sys, threading, time
from pathlib import Path

def main(arguments):
    return globals()[arguments[0]]()

def bug(): return [][1]
def several_lines(): raise ValueError("first\\nsecond")
def memory(): raise MemoryError
def recursion(): return recursion()
def missing(): Path("no/such/file").read_text()
def folder(): Path(".").read_text()
def full(): raise OSError(errno.ENOSPC, "No space left on device", "clip.mp4")
def full_while_written(): Path("/dev/full").write_text("a line")
def read_only(): raise OSError(errno.EROFS, "Read-only file system", "var")
def package(): import no_such_package
def reset(): raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
def a_socket(): raise BrokenPipeError(errno.EPIPE, "Broken pipe")
def a_name(): "caf\\udce9".encode()
def seven(): return 7
def text(): sys.exit("in words")
def in_a_thread():
    thread = threading.Thread(target=bug)
    thread.start()
    thread.join()
def at_exit(): atexit.register(bug)
def cleared_away():
    class Thing:
        def __del__(self): bug()
    Thing()
def prints_at_once(): print("a line", flush=True)
def waits():
    print("waiting", flush=True)
    time.sleep(60)
def prints():
    for number in range(100_000): print(number, flush=True)
def prints_a_little(): print("done")
def foreign(): print("\\u00e9 \\u4e2d \\udce9")
"""


def command(tmp_path: Path, what: str) -> list[str]:
    (tmp_path / "failing.py").write_text(FAILING)
    code = "import sys; from framefleet.command import carry_out; carry_out('failing', sys.argv[1:])"
    return [sys.executable, "-c", code, what]


def environment(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:.", **more}


def run(tmp_path: Path, what: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(tmp_path, what),
        cwd=tmp_path,
        env=environment(TMPDIR=str(tmp_path), **more),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("what", "code", "line"),
    [
        ("bug", 70, "a fault of this program, IndexError: list index out of range; please report it"),
        ("several_lines", 70, "a fault of this program, ValueError: first; please report it"),
        (
            "recursion",
            70,
            "a fault of this program, RecursionError: maximum recursion depth exceeded; please report it",
        ),
        ("memory", 1, "out of memory; ask for less at once, or give this machine more"),
        (
            "missing",
            1,
            "no/such/file: no such file or directory; check the name; "
            "relative ones begin at the folder this was called from",
        ),
        ("folder", 1, ".: is a directory; name a file, this is a folder"),
        (
            "full",
            1,
            "clip.mp4: no space left on device; "
            "make room, or choose another folder (`df -h` shows where there is some)",
        ),
        (
            "full_while_written",
            1,
            "/dev/full: no space left on device; "
            "make room, or choose another folder (`df -h` shows where there is some)",
        ),
        (
            "read_only",
            1,
            "var: read-only file system; choose another folder: nothing can be written in this one",
        ),
        (
            "a_name",
            1,
            "a file's name is not in the encoding of this environment (utf-8); "
            "set LC_ALL=C.UTF-8, or choose another name",
        ),
        ("reset", 1, "connection reset by peer"),
        ("a_socket", 1, "broken pipe"),
        (
            "package",
            1,
            f"no_such_package is not installed (for {sys.executable}); run `make setup`, and use .venv/bin/python",
        ),
    ],
)
def test_a_failure_is_one_line_that_names_the_file_with_its_traceback(
    tmp_path: Path, what: str, code: int, line: str
) -> None:
    done = run(tmp_path, what)
    assert done.returncode == code
    (shown,) = done.stderr.splitlines()
    found = re.fullmatch(rf"failing: {re.escape(line)} \(traceback: (?P<file>/.*)\)", shown)
    assert found, shown
    kept = Path(found["file"])
    assert "Traceback (most recent call last)" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_the_traceback_lies_with_the_logs_where_there_are_some_and_the_next_takes_its_place(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    for what in ("memory", "bug"):
        assert f"(traceback: {tmp_path}/var/log/failing-traceback.txt)" in run(tmp_path, what).stderr
    (kept,) = (tmp_path / "var/log").iterdir()
    assert "IndexError" in kept.read_text()


@as_root
def test_root_keeps_no_traceback_where_another_users_link_leads(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "roots").mkdir()
    (tmp_path / "var/log").symlink_to(tmp_path / "roots")
    os.lchown(tmp_path / "var/log", NOBODY, NOBODY)
    kept = re.search(r"\(traceback: (.*)\)", run(tmp_path, "bug").stderr)
    assert kept and Path(kept[1]).parent == tmp_path  # its TMPDIR
    assert list((tmp_path / "roots").iterdir()) == []


def test_a_supervised_program_has_its_traceback_in_its_log(tmp_path: Path) -> None:
    lines = run(tmp_path, "bug", SUPERVISOR_ENABLED="1").stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "failing: a fault of this program, IndexError: list index out of range; please report it"


def test_a_terminal_that_a_supervised_program_opened_sees_no_traceback(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "wb") as terminal:
        done = subprocess.run(
            command(tmp_path, "bug"),
            cwd=tmp_path,
            env=environment(TMPDIR=str(tmp_path), SUPERVISOR_ENABLED="1"),
            stderr=terminal,
            check=False,
            timeout=60,
        )
    with os.fdopen(ours, "rb") as reader:
        shown = reader.read1()
    assert done.returncode == 70
    assert shown.startswith(b"failing: a fault of this program") and b"Traceback (most" not in shown


@pytest.mark.parametrize(
    ("what", "code", "shown"), [("seven", 7, ""), ("text", 1, "in words\n"), ("prints_a_little", 0, "")]
)
def test_what_a_command_says_itself_stays(tmp_path: Path, what: str, code: int, shown: str) -> None:
    done = run(tmp_path, what)
    assert (done.returncode, done.stderr) == (code, shown)


@pytest.mark.parametrize("what", ["in_a_thread", "at_exit", "cleared_away"])
def test_what_python_would_print_of_failures_elsewhere_is_a_line_too(tmp_path: Path, what: str) -> None:
    done = run(tmp_path, what)
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("failing: a fault of this program, IndexError")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_command_says_no_more_than_that(tmp_path: Path, number: signal.Signals, code: int) -> None:
    process = subprocess.Popen(
        command(tmp_path, "waits"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(number)
        assert process.communicate(timeout=60)[1] == "failing: interrupted\n"
    assert process.returncode == code


@pytest.mark.parametrize(
    ("what", "code"), [("prints", 141), ("prints_a_little", 0)], ids=["in the middle", "when all was done"]
)
def test_a_reader_that_has_seen_enough_is_no_failure(tmp_path: Path, what: str, code: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            command(tmp_path, what),
            cwd=tmp_path,
            env=environment(),
            stdout=pipe,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (code, b"")


@pytest.mark.parametrize("function", ["prints_a_little", "prints_at_once"])
def test_output_that_is_lost_is_a_failure(function: str, tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command(tmp_path, function),
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("failing: standard output: no space left on device; make room")


def test_output_that_nobody_takes_at_all_is_none(tmp_path: Path) -> None:
    shell = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command(tmp_path, "prints_a_little")]
    assert subprocess.run(shell, cwd=tmp_path, env=environment(), check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_characters_that_the_terminal_does_not_know_end_nothing(tmp_path: Path, encoding: str) -> None:
    done = subprocess.run(
        command(tmp_path, "foreign"),
        cwd=tmp_path,
        env=environment(PYTHONIOENCODING=encoding),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"?\n")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_that_can_be_run_is_carried_out_first_of_all(path: Path) -> None:
    runs = [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.If) and "__name__" in ast.dump(node.test)
    ]
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    assert len(runs) == 1 or path.name != "__main__.py"
    assert PROGRAMS.get(str(path.relative_to(ROOT))) == (name if runs else None)


def called(
    module: str, *arguments: str, python: tuple[str, ...] = (), **more: object
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, *python, "-m", module.removesuffix(".__main__"), *arguments],
        check=False,
        **{"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": 120, **more},
    )


# What needs no package at all.
@pytest.mark.parametrize("module", sorted(set(PROGRAMS.values()) - WITHOUT_PACKAGES))
def test_without_its_packages_a_program_says_how_to_get_them(module: str, tmp_path: Path) -> None:
    done = called(module, python=("-S",), cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    name = [word for word in module.split(".") if word != "__main__"][-1]
    assert re.match(rf"{name}: \w+ is not installed \(for .*\); run `make setup`, and use \.venv/bin/python", line)


@pytest.mark.parametrize("module", sorted(set(PROGRAMS.values()) - WITHOUT_OPTIONS))
def test_the_help_of_a_program_can_be_cut_off(module: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = called(module, "--help", stdout=pipe)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_detect_that_is_installed_is_carried_out_too(free_port: Callable[[], int], tmp_path: Path) -> None:
    code = "from framefleet.client.__main__ import command; command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "gone.mp4"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("client: ")
