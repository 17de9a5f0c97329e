from contextlib import closing
from pathlib import Path

import pytest

from deploy.machine.logs import Tail, explain, log_names, nginx_refusal, size_of


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "cpu0.log"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            "loading\ncannot start: model m.onnx: not found\n[1] [ERROR] Worker failed to boot.\n",
            "cannot start: model m.onnx: not found",
            id="the program's own reason",
        ),
        pytest.param(
            "2026/01/01 [emerg] 7#7: bind() to 127.0.0.1:80 failed (98: Address already in use)\n"
            "2026/01/01 [emerg] 7#7: still could not bind()\n",
            "2026/01/01 [emerg] 7#7: bind() to 127.0.0.1:80 failed (98: Address already in use)",
            id="nginx's port",
        ),
        pytest.param(
            '[alert] could not open error log file: open() "/var/log/nginx/error.log" failed (13: Permission denied)\n'
            '2026/01/01 [emerg] 7#7: unknown directive "x" in /etc/nginx.conf:3\n',
            '2026/01/01 [emerg] 7#7: unknown directive "x" in /etc/nginx.conf:3',
            id="nginx's own line",
        ),
        pytest.param(
            'Traceback (most recent call last):\n  File "a.py", line 1\nModuleNotFoundError: No module named x\n',
            "ModuleNotFoundError: No module named x",
            id="an exception",
        ),
        pytest.param(
            '{"event": "engine_fault", "detail": "self-test"}\n[1] [ERROR] Worker (pid:2) exited with code 70.\n',
            '{"event": "engine_fault", "detail": "self-test"}',
            id="the service's own event",
        ),
        pytest.param("one\n\ntwo\nthree\nfour\n", "two | three | four", id="the last lines"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_the_reason_is_picked_from_what_was_logged(log: Path, text: str, reason: str) -> None:
    log.write_text(text)
    assert explain(log, 0) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('2026/01/01 00:00:00 [emerg] 7#7: unknown directive "x" in /f:3\n', 'unknown directive "x" in /f:3'),
        ("2026/01/01 [emerg] 7#7: bind() to 127.0.0.1:80 failed (98: Address already in use)\n", ""),
        (
            "2026/01/01 [emerg] 7#7: bind() to 127.0.0.1:80 failed (98: Address already in use)\n"
            "2026/01/01 [emerg] 7#7: still could not bind()\n",
            "bind() to 127.0.0.1:80 failed (98: Address already in use)",
        ),
        ("2026/01/01 [warn] 7#7: a client request body is buffered\n", ""),
        ("", ""),
    ],
    ids=["syntax", "tries the port again", "gave the port up", "a warning", "nothing"],
)
def test_nginx_says_itself_why_it_refuses_its_files(log: Path, text: str, reason: str) -> None:
    log.write_text("2026/01/01 [emerg] 7#7: of an earlier reload\n" + text)
    assert nginx_refusal(log, len("2026/01/01 [emerg] 7#7: of an earlier reload\n")) == reason


def test_only_what_was_logged_since_the_start_counts(log: Path) -> None:
    log.write_text("cannot start: yesterday\n")
    mark = size_of(log)
    with log.open("a") as file:
        file.write("cannot start: today\n")
    assert explain(log, mark) == "cannot start: today"


def test_of_an_enormous_log_the_end_is_read(log: Path) -> None:
    with log.open("wb") as file:
        file.truncate(2**33)
        file.seek(0, 2)
        file.write(b"\ncannot start: today\n")
    assert explain(log, 0) == "cannot start: today"
    with closing(Tail(log, 1)) as tail:
        assert tail.read() == ["cannot start: today"]


def test_a_log_that_was_rotated_counts_whole(log: Path) -> None:
    log.write_text("cannot start: today\n")
    assert explain(log, 10_000) == "cannot start: today"


def test_a_missing_log_has_no_size_and_no_reason(log: Path) -> None:
    assert (size_of(log), explain(log, 0)) == (0, "")


def test_a_tail_begins_with_the_last_lines_and_goes_on_with_new_ones(log: Path) -> None:
    log.write_text("1\n2\n3\n")
    with closing(Tail(log, 2)) as tail:
        assert tail.read() == ["2", "3"]
        assert tail.read() == []
        with log.open("a") as file:
            file.write("4\n5\n6\nhalf a l")
        assert tail.read() == ["4", "5", "6"]
        with log.open("a") as file:
            file.write("ine\n")
        assert tail.read() == ["half a line"]


def test_a_tail_follows_rotation(log: Path) -> None:
    log.write_text("1\n")
    with closing(Tail(log, 10)) as tail:
        assert tail.read() == ["1"]
        with log.open("a") as file:
            file.write("2\n")
        log.rename(log.with_suffix(".log.1"))
        assert tail.read() == ["2"]
        log.write_text("3\n")
        assert tail.read() == ["3"]


def test_a_tail_waits_for_a_log_that_is_not_there_yet(log: Path) -> None:
    with closing(Tail(log, 10)) as tail:
        assert tail.read() == []
        log.write_text("1\n")
        assert tail.read() == ["1"]


def test_logs_are_named_without_suffix_and_rotated_ones_left_out(tmp_path: Path) -> None:
    for name in ("cpu0.log", "cpu0.log.1", "balancer.log", "notes.txt"):
        (tmp_path / name).touch()
    assert log_names(tmp_path) == ("balancer", "cpu0")
