"""Lets one instance of a host drain for its memory at a time: those that grow alike would all be gone at once.

Who drains writes its name into a file in the folder that a host's instances share, and its successor, which has the
same name, takes it out when it listens. Each also holds a lock there while it listens, which ends with it: the last one
that listens does not drain while others that were there are down. Neither waits for ever.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FILE, LISTENING = "draining", ".listening"
# As long as a model may take to load.
TURN_S = 300.0
# For one that is far over its ceiling: what is in flight is answered by then, and most models are loaded.
SHORT_TURN_S = 30.0
# Others have a lock for some microseconds; who keeps one, such as a process that hangs, must keep nobody from starting.
TRIES, PAUSE_S = 50, 0.02


class DrainTurn:
    """The turn of a host's instances, as one of them sees it.

    Args:
        folder: shared by the instances of a host; None for an instance on its own, which never waits.
        instance: its name, which its successor bears too.
        clock: seconds, monotonic and the same in every process of this machine.
        sleep: waits for s.
    """

    def __init__(
        self,
        folder: Path | None,
        instance: str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder, self._instance, self._clock, self._sleep = folder, instance, clock, sleep
        self._lock: int | None = None
        self._last_since_s: float | None = None

    def listen(self) -> None:
        """Notes that this instance listens, and ends its turn if it has it."""
        if self._folder is None:
            return
        with suppress(OSError):  # such as a full disk: the others then know nothing of this one
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = _open(self._folder / f"{self._instance}{LISTENING}", os.O_CREAT)
            self._wait_for(self._lock)
        with suppress(OSError), self._locked(self._folder / FILE) as file:
            if _read(file)[0] == self._instance:
                _write(file, "")

    def leave(self) -> None:
        """Notes that this instance listens no longer."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def look(self) -> None:
        """Remembers since when no other listens: who is alone for long, as after a fleet shrank, waits no more."""
        if self._folder is not None:
            with suppress(OSError):
                self._is_last(self._folder, self._clock())

    def take(self, *, urgent: bool = False) -> bool:
        """Takes the turn if it is free, over, or this instance's own, and others listen.

        Args:
            urgent: waits for `SHORT_TURN_S` at most, and for nobody where no turn can be noted.
        """
        if self._folder is None:
            return True
        limit_s = SHORT_TURN_S if urgent else TURN_S
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._locked(self._folder / FILE, os.O_CREAT) as file:
                name, since_s = _read(file)
                now = self._clock()
                # A time to come is of another boot.
                if name != self._instance and since_s <= now < since_s + limit_s:
                    return False
                if self._is_last(self._folder, now) and now < (self._last_since_s or now) + limit_s:
                    return False
                _write(file, f"{self._instance} {now}\n")
                return True
        except OSError:
            return urgent

    def _is_last(self, folder: Path, now: float) -> bool:
        """Whether others were there and none listens now; remembers since when that is so."""
        own = folder / f"{self._instance}{LISTENING}"
        others = [path for path in folder.glob(f"*{LISTENING}") if path != own]
        if not others or any(map(_is_held, others)):
            self._last_since_s = None
            return False
        self._last_since_s = now if self._last_since_s is None else self._last_since_s
        return True

    @contextmanager
    def _locked(self, path: Path, flags: int = 0) -> Iterator[int]:
        descriptor = _open(path, flags)
        try:
            self._wait_for(descriptor)  # the kernel lifts it with its holder
            yield descriptor
        finally:
            os.close(descriptor)

    def _wait_for(self, descriptor: int) -> None:
        """Locks a file.

        Raises:
            BlockingIOError: somebody else keeps it locked.
        """
        for _ in range(TRIES):
            with suppress(BlockingIOError):
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sleep(PAUSE_S)
        raise BlockingIOError


def _open(path: Path, flags: int = 0) -> int:
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)


def _is_held(path: Path) -> bool:
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


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
