"""Replaces an instance that has grown too large, before the kernel kills it or a neighbour.

A limit on addresses does not suit CUDA, which reserves far more of them than there is memory. So the instance looks at
what it really holds, and when that stays over its ceiling it drains as on SIGTERM, in its turn (`drain_turn.py`):
nobody's request is lost. Memory shared over the fork tells the gunicorn master why its worker ended.
"""

import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from service.safeguards.drain_turn import DrainTurn

EXIT_MEMORY = 72
CHECK_EVERY_S = 1.0
# A few large pictures at once are a peak; what still stands after so many looks is not.
LOOKS = 3
# Supervisor takes one that ends earlier for one that does not start, and waits ever longer until it tries again.
LEAST_LIFE_S = 15.0
FAR_OVER = 1.5
MIB = 2**20
_STATE = struct.Struct("=?I")


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
