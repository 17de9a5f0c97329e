"""Does what fleets suffer, now and then while load goes on: kills an instance, or runs a command."""

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from framefleet.repeat import repeated
from loadtest.errors import OptionError, RunError
from loadtest.target.target import Target

KILL = "kill"
TIMEOUT_S = 10.0
COMMAND_LIMIT_S = 600.0


@dataclass(slots=True)
class Tally:
    """What was done so far: `done` disturbances, and those that could not be done with the reason why."""

    done: int = 0
    troubles: list[str] = field(default_factory=list)


def disturber(what: str, url: str) -> Callable[[int], None]:
    """What to do the n-th time, from 1.

    Args:
        what: see `profile.Plan.disturb`.
        url: the service.

    Raises:
        OptionError: nothing is to be done.
    """
    if what == KILL:
        return lambda number: kill_one(url)
    if not what:
        raise OptionError("--disturb: say what to do to the fleet: kill, or a command such as one that restarts it")
    return lambda number: run_command(what.replace("{n}", str(number)))


@contextmanager
def disturbed(act: Callable[[int], None], every_s: float) -> Iterator[Tally]:
    """Acts every so many seconds for as long as the block lasts."""
    tally = Tally()

    def disturb() -> None:
        try:
            act(tally.done + 1)
            tally.done += 1
        except RunError as error:
            tally.troubles.append(str(error))

    with repeated(disturb, lambda: every_s):
        yield tally


def kill_one(url: str, kill: Callable[[int, int], None] = os.kill) -> None:
    """Ends the instance that happens to answer, by signal 9.

    Raises:
        RunError: it is not on this machine.
    """
    with Target(url, TIMEOUT_S) as target:
        pid = target.status().get("pid")
    if not isinstance(pid, int) or not _is_instance(pid):
        raise RunError(f"{url}: its instance is not on this machine; give a command that ends one with --disturb")
    try:
        kill(pid, signal.SIGKILL)
    except OSError as error:
        raise RunError(f"process {pid}: {error.strerror}; run as the user that runs the fleet") from None


def run_command(command: str) -> None:
    """Runs a command without a shell and waits for it.

    Raises:
        RunError: it failed, or takes too long.
    """
    try:
        done = subprocess.run(
            shlex.split(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_LIMIT_S, check=False
        )
    except (OSError, ValueError) as error:
        raise RunError(f"{command}: {error}") from None
    except subprocess.TimeoutExpired:
        raise RunError(f"{command}: not done after {COMMAND_LIMIT_S:g} s") from None
    if done.returncode != 0:
        last = (done.stderr or done.stdout).decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise RunError(f"{command}: ended with code {done.returncode}: {last}")


def _is_instance(pid: int) -> bool:
    """A number from another machine must not end a stranger here."""
    try:
        return b"gunicorn" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
