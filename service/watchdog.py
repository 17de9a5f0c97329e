"""Ends a process whose inference hangs, even when the hang holds the GIL.

`faulthandler` counts in C and needs no Python thread to run: when an inference outlasts its limit it writes every
thread's stack to the log and ends the process. A shared flag tells the gunicorn master, which reaps the process, why.
"""

import faulthandler
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_HANG = 71
STDERR = 2  # the descriptor: it stays valid whatever happens to sys.stderr
_DEADLINE = struct.Struct("d")
_NONE = 0.0


def shared_memory() -> int:
    """Makes the flag's memory, to be shared over a fork; returns its file descriptor."""
    descriptor = os.memfd_create("watchdog")
    os.ftruncate(descriptor, _DEADLINE.size)
    return descriptor


class Watchdog:
    """Bounds each inference.

    Args:
        limit_s: an inference may take this many seconds.
        shared_fd: from `shared_memory` where the master wants to know of a hang; None keeps it to this process.
        clock: seconds, monotonic and the same in every process of this machine.
    """

    def __init__(
        self, limit_s: float, shared_fd: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit_s = limit_s
        self._clock = clock
        self._shared = mmap.mmap(-1 if shared_fd is None else shared_fd, _DEADLINE.size)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Watches over one inference; leaving the block in time calls the watch off."""
        _DEADLINE.pack_into(self._shared, 0, self._clock() + self.limit_s)
        faulthandler.dump_traceback_later(self.limit_s, exit=True, file=STDERR)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            _DEADLINE.pack_into(self._shared, 0, _NONE)

    def hung(self) -> bool:
        """Whether the watched process ended because an inference outlasted its limit; asked by the master."""
        (deadline,) = _DEADLINE.unpack_from(self._shared, 0)
        return bool(deadline != _NONE and self._clock() >= deadline)
