import os
import signal
import subprocess

import pytest

from deploy.checks.health import Readiness
from deploy.machine.control import ProgramState
from deploy.verbs.status import duration, rows, seen, table
from tests.deploy.fleets import fleet_of


def answer(name: str, ready: bool = True, reason: str = "") -> Readiness:
    return Readiness(name, "", ready, "r7" if ready else "", reason)


def test_the_table_shows_what_runs_and_what_answers() -> None:
    states = {
        "cpu0": ProgramState("cpu0", "STARTING", 4711, 7, ""),
        "cpu1": ProgramState("cpu1", "BACKOFF", 0, 0, "Exited too quickly"),
    }
    answers = [answer("cpu0"), answer("cpu1", False, "refuses connections"), answer("balancer", False, "answers 502")]
    found = rows(fleet_of(2), states, answers)
    assert table(found).splitlines() == [
        "PROGRAM   STATE         PID   UPTIME  PORT  READY                                        RELEASE",
        "cpu0      up, settling  4711  7s      8101  yes                                          r7",
        "cpu1      BACKOFF       -     -       8102  no: Exited too quickly; refuses connections  -",
        "balancer  MISSING       -     -       8080  no: answers 502                              -",
        "reviver   MISSING       -     -       -     no: does not run                             -",
    ]
    assert [row.well for row in found] == [True, False, False, False]


@pytest.mark.parametrize(
    ("state", "ready", "well"),
    [
        ("RUNNING", True, True),
        ("STARTING", True, True),
        ("RUNNING", False, False),
        ("STARTING", False, False),
        ("STOPPING", True, False),
        ("FATAL", False, False),
    ],
)
def test_a_program_is_well_if_it_runs_or_starts_and_is_ready(state: str, ready: bool, well: bool) -> None:
    fleet = fleet_of(1)
    states = {"cpu0": ProgramState("cpu0", state, 1, 1, "")}
    assert rows(fleet, states, [answer("cpu0", ready)])[0].well is well


def test_what_starts_and_does_not_answer_yet_is_starting() -> None:
    found = rows(fleet_of(1), {"cpu0": ProgramState("cpu0", "STARTING", 4711, 1, "")}, [answer("cpu0", False, "no")])
    assert table(found).splitlines()[1].split()[:3] == ["cpu0", "STARTING", "4711"]


def test_a_watcher_that_is_stopped_is_not_well() -> None:
    with subprocess.Popen(("sleep", "60")) as process:
        try:
            state = ProgramState("reviver", "RUNNING", process.pid, 9, "")
            assert seen(state).ready
            os.kill(process.pid, signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            assert seen(state).reason == f"is stopped; kill -CONT {process.pid}"
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (60, "1m00s"), (3600, "1h00m"), (93_784, "1d02h")]
)
def test_durations_are_short(seconds: int, text: str) -> None:
    assert duration(seconds) == text
