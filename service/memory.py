"""Replaces an instance that has grown too large, before the kernel kills it or a neighbour.

A limit on addresses does not suit CUDA, which reserves far more of them than there is memory. So the instance looks at
what it really holds, and when that stays over its ceiling it drains as on SIGTERM: nobody's request is lost. A flag in
memory shared over the fork tells the gunicorn master why its worker ended.
"""

import mmap
import os
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

EXIT_MEMORY = 72
CHECK_EVERY_S = 1.0
# A few large pictures at once are a peak; what still stands after so many looks is not.
LOOKS = 3
MIB = 2**20
# Instances that grow alike would all drain at once; so each has its own ceiling, up to so many hundredths lower.
SPREAD = 10


def shared_flag() -> int:
    """Makes the flag's memory, to be shared over a fork; returns its file descriptor."""
    descriptor = os.memfd_create("memory")
    os.ftruncate(descriptor, 1)
    return descriptor


def resident_bytes() -> int:
    """Memory that this process holds: its own, and the libraries it has touched."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


class Ceiling:
    """Watches one instance's memory.

    Args:
        limit_mb: MiB; 0 for none.
        instance: its name, from which its own ceiling comes.
        shared_fd: from `shared_flag`.
        resident: bytes held now.
    """

    def __init__(
        self, limit_mb: int, instance: str, shared_fd: int, resident: Callable[[], int] = resident_bytes
    ) -> None:
        self.limit_mb = limit_mb * (100 - zlib.crc32(instance.encode()) % (SPREAD + 1)) // 100
        self._resident = resident
        self._shared = mmap.mmap(shared_fd, 1)
        self._over = 0

    def is_over(self) -> bool:
        """Whether more is held right now than may be."""
        return self.limit_mb > 0 and self._resident() > self.limit_mb * MIB

    def reached(self) -> bool:
        """Looks once; whether it was over the ceiling at each of the last looks."""
        self._over = self._over + 1 if self.is_over() else 0
        return self._over >= LOOKS

    def watch(self, on_reached: Callable[[], None], sleep: Callable[[float], None] = time.sleep) -> None:
        """Looks on in a thread of its own.

        Args:
            on_reached: called once, when the process has to be replaced.
            sleep: waits for s.
        """

        def look_on() -> None:
            while not self.reached():
                sleep(CHECK_EVERY_S)
            self._shared[0] = 1
            on_reached()

        if self.limit_mb:
            threading.Thread(target=look_on, name="memory", daemon=True).start()

    def was_reached(self) -> bool:
        """Whether the watched process ended for that reason; asked by the master."""
        return self._shared[0] != 0
