"""What a fault acts on, and what every fault needs: to kill, and to wait."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from chaos.machine import parent_of, processes
from chaos.rehearsal import ChaosError, Instance, Rehearsal

LIMIT_S = 120.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Stage:
    """What a fault acts on.

    Attributes:
        fleet: where it happens.
        chosen: the instance it happens to.
        poison: a picture that kills every instance it reaches.
        small_disk: whether logs and temporary files have a disk of their own.
    """

    fleet: Rehearsal
    chosen: Instance
    poison: bytes
    small_disk: bool


def kill(pid: int) -> None:
    """Kills a process, and waits until it is gone.

    Raises:
        ChaosError: there is none, or it stays.
    """
    if pid == 0:
        raise ChaosError("what was to be killed does not answer")
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)


def kill_master_of(stage: Stage) -> None:
    """Kills the chosen instance's gunicorn master; its worker dies with it."""
    worker = stage.fleet.worker(stage.chosen)
    kill(parent_of(worker))
    wait_gone(worker)


def wait_gone(pid: int) -> None:
    """Waits until a process has ended."""
    wait(f"process {pid} ends", lambda: pid not in {process.pid for process in processes()})


def wait_taken(stage: Stage) -> None:
    """Waits until the chosen instance's engine has taken its cue."""
    wait("the engine takes its cue", lambda: not (stage.fleet.code / "cues" / stage.chosen.name).exists())


def wait(what: str, holds: Callable[[], bool]) -> None:
    """Polls until something holds.

    Raises:
        ChaosError: it does not within the limit.
    """
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        if time.monotonic() > deadline:
            raise ChaosError(f"not within {LIMIT_S:g} s: {what}")
        time.sleep(POLL_S)
