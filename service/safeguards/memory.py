"""Replaces an instance that has grown too large, before the kernel kills it or a neighbour.

A limit on addresses does not suit CUDA, which reserves far more of them than there is memory. So the instance looks at
what it really holds, and when that stays over its ceiling it drains as on SIGTERM, in its turn (`DrainTurn`):
nobody's request is lost. Memory shared over the fork tells the gunicorn master why its worker ended.

`DrainTurn`: lets one instance of a host drain for its memory at a time: those that grow alike would all be gone at
once.

Who drains writes its name into a file in the folder that a host's instances share, and its successor, which has the
same name, takes it out when it listens. Each also holds a lock there while it listens, which ends with it: the last one
that listens does not drain while others that were there are down. Neither waits for ever.

`bound_heap`, `settle_heap`: keeps the process's memory where it belongs: large picture buffers go back to the system
when they are freed.

glibc gives each thread an arena and, once a few large blocks were freed, keeps later ones in them. With dozens of
request threads and pictures of all sizes that adds up: the process grows by half over an hour and never shrinks.
"""

import ctypes
import fcntl
import gc
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

EXIT_MEMORY = 72
CHECK_EVERY_S = 1.0
# A few large pictures at once are a peak; what still stands after so many looks is not.
LOOKS = 3
# Supervisor takes one that ends earlier for one that does not start, and waits ever longer until it tries again.
LEAST_LIFE_S = 15.0
FAR_OVER = 1.5
MIB = 2**20
_STATE = struct.Struct("=?I")
# From malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
# A raw 640x480 frame stays on the heap; larger ones are mapped, which costs a few per cent of their decoding.
LARGE_BYTES = 2**20
# An arena's unused end goes back when it is longer than this. At glibc's 128 KiB a frame's memory goes back each time.
TRIM_BYTES = 4 * 2**20
ARENAS = 4
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


def shared_state() -> int:
    """Makes the memory of what worker and master share over the fork; returns its file descriptor."""
    descriptor = os.memfd_create("memory")
    os.ftruncate(descriptor, _STATE.size)
    return descriptor


def resident_bytes() -> int:
    """Memory that this process holds: its own, and the libraries it has touched."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


class Ceiling:
    """Watches one instance's memory.

    Args:
        most_mb: MiB held at most; 0 for any.
        growth_mb: MiB above what it holds when it begins to listen; 0 for any. The lower one of both counts.
        shared_fd: from `shared_state`.
        resident: bytes held now.
    """

    def __init__(
        self,
        most_mb: int,
        growth_mb: int,
        shared_fd: int,
        resident: Callable[[], int] = resident_bytes,
    ) -> None:
        self._growth_mb = growth_mb
        self._resident = resident
        self._shared = mmap.mmap(shared_fd, _STATE.size)
        self._over = 0
        self._note(reached=False, limit_mb=most_mb)

    @property
    def limit_mb(self) -> int:
        """MiB that this instance may hold; 0 for any."""
        return int(_STATE.unpack_from(self._shared)[1])

    def settle(self) -> None:
        """Takes what is held now for what the instance needs; its growth counts from here."""
        if self._growth_mb:
            limit_mb = self._resident() // MIB + self._growth_mb
            self._note(reached=False, limit_mb=min(limit_mb, self.limit_mb or limit_mb))

    def is_over(self, times: float = 1.0) -> bool:
        """Whether more is held right now than may be, or than so many times that."""
        try:
            return self.limit_mb > 0 and self._resident() > self.limit_mb * MIB * times
        except OSError:  # such as for want of file descriptors; the next look tells
            return False

    def reached(self) -> bool:
        """Looks once; whether it was over the ceiling at each of the last looks."""
        self._over = self._over + 1 if self.is_over() else 0
        return self._over >= LOOKS

    def watch(
        self,
        on_reached: Callable[[], None],
        turn: DrainTurn,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Looks on in a thread of its own.

        Args:
            on_reached: called once, when the process has to be replaced and it is its turn.
            turn: of the host's instances.
            sleep: waits for s.
        """

        def look_on() -> None:
            sleep(LEAST_LIFE_S)
            while not (self.reached() and turn.take(urgent=self.is_over(FAR_OVER))):
                turn.look()
                sleep(CHECK_EVERY_S)
            self._note(reached=True, limit_mb=self.limit_mb)
            on_reached()

        if self.limit_mb:
            threading.Thread(target=look_on, name="memory", daemon=True).start()

    def was_reached(self) -> bool:
        """Whether the watched process ended for that reason; asked by the master."""
        return bool(_STATE.unpack_from(self._shared)[0])

    def _note(self, *, reached: bool, limit_mb: int) -> None:
        _STATE.pack_into(self._shared, 0, reached, limit_mb)


def bound_heap() -> None:
    """Sets glibc's allocator; other C libraries are left as they are."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
        mallopt(M_ARENA_MAX, ARENAS)


def settle_heap() -> None:
    """Spares what was loaded by now Python's collections of garbage: each full one would look through all of it."""
    gc.collect()
    gc.freeze()


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
