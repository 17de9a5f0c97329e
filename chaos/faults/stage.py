"""What a fault acts on, and what every fault needs: to kill, and to wait."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from chaos.machine import is_stopped, parent_of, processes
from chaos.rehearsal import ChaosError, Instance, Rehearsal

LIMIT_S = 120.0
POLL_S = 0.05
STOPPED_S = 1.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What a fault acts on.

    Attributes:
        fleet: where it happens.
        chosen: the instance it happens to.
        other: another one, for a fault that comes together with it; the same where there is no other.
        poison: a picture that kills every instance it reaches.
        small_disk: whether logs and temporary files have a disk of their own.
    """

    fleet: Rehearsal
    chosen: Instance
    other: Instance
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


def wait_gone(pid: int, limit_s: float = LIMIT_S) -> None:
    """Waits until a process has ended."""
    wait(f"process {pid} ends", lambda: not is_alive(pid), limit_s)


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    return pid in {process.pid for process in processes()}


def wait_nginx(stage: Stage, killed: int) -> None:
    """Waits until another nginx master than the one that was killed runs."""

    def runs() -> bool:
        master = stage.fleet.pid_of("nginx")
        return master not in (0, killed) and is_alive(master)

    wait("another nginx runs", runs)


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Stops processes; who is still there when the block ends may go on."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        # The kernel takes a moment.
        wait("the processes are stopped", lambda: all(map(is_stopped, pids)), STOPPED_S)
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def wait_taken(stage: Stage) -> None:
    """Waits until the chosen instance's engine has taken its cue."""
    wait("the engine takes its cue", lambda: not (stage.fleet.code / "cues" / stage.chosen.name).exists())


def wait(what: str, holds: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Polls until something holds.

    Raises:
        ChaosError: it does not within the limit.
    """
    deadline = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > deadline:
            raise ChaosError(f"not within {limit_s:g} s: {what}")
        time.sleep(POLL_S)
