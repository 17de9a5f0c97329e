"""Disturbances are done, counted, and never hit a stranger."""

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.errors import OptionError, RunError
from loadtest.scenario.kinds import disturbed, disturber, kill_one, run_command
from tests.instance import start_instance, stop_instance
from tests.loadtest.fake_service import Scripted, fake_service

LIMIT_S = 60


def test_the_instance_that_answers_is_killed(free_port: Callable[[], int], tmp_path: Path) -> None:
    instance = start_instance(free_port(), "simulated:a_ms=1", tmp_path / "log")
    try:
        instance.wait_until_ready()
        kill_one(instance.url)
        # Its worker is gone, so the master ends.
        assert instance.process.wait(LIMIT_S) == 70
    finally:
        stop_instance(instance)


@pytest.mark.parametrize("document", [{}, {"pid": "1"}, {"pid": 2**22 + 1}], ids=["none", "text", "elsewhere"])
def test_a_process_that_is_no_instance_here_is_left_alone(document: dict[str, object]) -> None:
    killed: list[int] = []
    with fake_service(lambda number: Scripted()) as service:
        service.document = json.dumps(document).encode()
        with pytest.raises(RunError, match="its instance is not on this machine; give a command"):
            kill_one(service.url, lambda pid, number: killed.append(pid))
    assert killed == []


def test_a_command_gets_the_number_of_the_disturbance(tmp_path: Path) -> None:
    act = disturber(f"touch {tmp_path}/done-{{n}}", "http://127.0.0.1:1")
    act(3)
    assert [path.name for path in tmp_path.iterdir()] == ["done-3"]


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (f"{sys.executable} -c 'raise SystemExit(\"no such host\")'", "ended with code 1: no such host"),
        ("/no/such/program", "No such file"),
        ("'unbalanced", "No closing quotation"),
    ],
)
def test_a_command_that_fails_is_named(command: str, complaint: str) -> None:
    with pytest.raises(RunError, match=complaint):
        run_command(command)


def test_nothing_to_do_is_an_error_before_any_load() -> None:
    with pytest.raises(OptionError, match="--disturb: say what to do"):
        disturber("", "http://127.0.0.1:1")


def test_disturbances_are_counted_and_troubles_kept() -> None:
    enough = threading.Event()
    numbers: list[int] = []

    def act(number: int) -> None:
        numbers.append(number)
        if len(numbers) == 2:
            raise RunError("not this time")
        if len(numbers) == 4:
            enough.set()

    with disturbed(act, every_s=0.001) as tally:
        assert enough.wait(LIMIT_S)
    assert numbers[:4] == [1, 2, 2, 3]
    assert tally.done >= 3
    assert tally.troubles == ["not this time"]
