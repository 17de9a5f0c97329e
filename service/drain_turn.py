"""Lets one instance of a host drain for its memory at a time: those that grow alike would all be gone at once.

Who drains writes its name into a file in the folder that a host's instances share, and its successor, which has the
same name, takes it out when it listens. A turn that nobody ends is over after a while.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FILE = "draining"
# As long as a model may take to load.
TURN_S = 300.0
# For one that is far over its ceiling: what is in flight is answered by then, and most models are loaded.
SHORT_TURN_S = 30.0


class DrainTurn:
    """The turn of a host's instances, as one of them sees it.

    Args:
        folder: shared by the instances of a host; None for an instance on its own, which never waits.
        instance: its name, which its successor bears too.
        clock: seconds, monotonic and the same in every process of this machine.
    """

    def __init__(self, folder: Path | None, instance: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._instance, self._clock = folder, instance, clock

    def take(self, *, urgent: bool = False) -> bool:
        """Takes the turn if it is free, over, or this instance's own.

        Args:
            urgent: takes another one's after `SHORT_TURN_S` already, and where it cannot be noted.
        """
        if self._folder is None:
            return True
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _locked(self._folder / FILE, os.O_CREAT) as file:
                name, since_s = _read(file)
                now = self._clock()
                # A time to come is of another boot.
                if name != self._instance and since_s <= now < since_s + (SHORT_TURN_S if urgent else TURN_S):
                    return False
                _write(file, f"{self._instance} {now}\n")
                return True
        except OSError:
            return urgent

    def give_back(self) -> None:
        """Ends this instance's turn, if it has it."""
        if self._folder is not None:
            with suppress(OSError), _locked(self._folder / FILE) as file:
                if _read(file)[0] == self._instance:
                    _write(file, "")


@contextmanager
def _locked(path: Path, flags: int = 0) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # for some microseconds; the kernel lifts it with its holder
        yield descriptor
    finally:
        os.close(descriptor)


def _read(file: int) -> tuple[str, float]:
    """The name there and its time; a file that is empty, or damaged, is nobody's turn."""
    name, _, since = os.pread(file, 200, 0).decode(errors="replace").partition(" ")
    try:
        return name, float(since)
    except ValueError:
        return "", float("inf")


def _write(file: int, text: str) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, text.encode(), 0)
