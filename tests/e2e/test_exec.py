"""`exec` runs a command while the fleet is up, and leaves the machine as it found it."""

import os
import signal
import sys
from collections.abc import Callable

import pytest

from tests.e2e.fleet import LocalFleet, background, wait_for_line

pytestmark = pytest.mark.e2e


def test_the_commands_exit_code_is_passed_on_and_the_fleet_is_gone(new_fleet: Callable[[], LocalFleet]) -> None:
    fleet = new_fleet()
    ask = "import sys, urllib.request as r; sys.exit(r.build_opener(r.ProxyHandler({})).open(sys.argv[1]).status - 159)"
    command = (sys.executable, "-c", ask, f"{fleet.url}/readyz")
    done = fleet.run("exec", *fleet.options(1), "--", *command)
    assert done.returncode == 41, done.stdout + done.stderr
    assert fleet.processes() == ()


def test_a_missing_command_leaves_nothing_running(new_fleet: Callable[[], LocalFleet]) -> None:
    fleet = new_fleet()
    done = fleet.run("exec", *fleet.options(1), "--", "no-such-command")
    assert done.returncode == 127
    assert "no-such-command: No such file or directory" in done.stderr
    assert done.stdout == "" and not fleet.paths.record.exists()
    assert fleet.processes() == ()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_the_command_and_the_fleet(new_fleet: Callable[[], LocalFleet], number: signal.Signals) -> None:
    fleet = new_fleet()
    with background(
        fleet.command("exec", *fleet.options(1), "--", "sh", "-c", "echo command runs; exec sleep 600")
    ) as process:
        wait_for_line(process, "command runs")
        # Ctrl-C reaches every process of the terminal's group, SIGTERM the one it is sent to.
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        assert process.wait(60) == 128 + number
        assert fleet.processes() == ()


def test_a_fleet_that_was_up_stays_up(fleet: LocalFleet) -> None:
    before = fleet.pids()
    done = fleet.run("exec", *fleet.options(), "--", "true")
    assert done.returncode == 0
    assert "already up" in done.stdout
    assert fleet.pids() == before
