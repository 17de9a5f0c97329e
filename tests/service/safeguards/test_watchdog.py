"""A process ends with its inference's limit, whatever its parent left of the alarm; one in time calls it off."""

import os
import signal
import subprocess
import sys

import pytest

from service.safeguards.watchdog import Watchdog, shared_memory
from tests.instance import ROOT

LIMIT_S = 60
GUARD = """
import signal, sys, time
from service.safeguards.watchdog import Watchdog, heed_alarm
heed_alarm()
watchdog = Watchdog(0.1)
with watchdog.guard():
    {inside}
time.sleep(0.5)
print("alive")
"""
INHERITED = """
import os, signal, sys
signal.signal(signal.SIGALRM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


@pytest.mark.parametrize("before", [(), (INHERITED,)], ids=["as usual", "ignored and blocked by the parent"])
def test_what_outlasts_its_limit_ends_the_process_and_shows_its_stack(before: tuple[str, ...]) -> None:
    ended = run(*before, GUARD.format(inside="time.sleep(1000)"))
    assert (ended.returncode, ended.stdout) == (-signal.SIGALRM, "")
    assert 'File "<string>", line 7 in <module>' in ended.stderr


def test_what_is_done_in_time_ends_nothing() -> None:
    ended = run(GUARD.format(inside="pass"))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "alive\n", "")


def test_the_master_knows_a_hang_by_the_deadline_that_passed() -> None:
    now, memory = 0.0, shared_memory()
    worker, master = (Watchdog(LIMIT_S, memory, lambda: now) for _ in range(2))
    assert not master.hung()
    with worker.guard():
        assert not master.hung()
        now += LIMIT_S
        assert master.hung()
    assert not master.hung()
    os.close(memory)
