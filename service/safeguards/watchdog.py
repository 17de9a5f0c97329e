"""Ends a process whose inference hangs, even when the hang holds the GIL.

The kernel counts: where an inference outlasts its limit SIGALRM comes, and `faulthandler`'s handler, in C, writes every
thread's stack to the log; then the signal ends the process, be it draining or its master stopped. A shared deadline
tells the gunicorn master, which reaps the process, why. Each watch costs two system calls, and no thread.
"""

import faulthandler
import mmap
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_HANG = 71
STDERR = 2  # the descriptor: it stays valid whatever happens to sys.stderr
_DEADLINE_BYTES = 8  # a double, which is written and read at one go
_NONE = 0.0


def shared_memory() -> int:
    """Makes the deadline's memory, to be shared over a fork; returns its file descriptor."""
    descriptor = os.memfd_create("watchdog")
    os.ftruncate(descriptor, _DEADLINE_BYTES)
    return descriptor


def heed_alarm() -> None:
    """Lets SIGALRM end this process and those it forks, whatever its parent left; for the main thread."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])


class Watchdog:
    """Bounds each inference, one at a time: a process has one such timer.

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
        shared = mmap.mmap(-1 if shared_fd is None else shared_fd, _DEADLINE_BYTES)
        self._deadline = memoryview(shared).cast("d")
        faulthandler.register(signal.SIGALRM, file=STDERR, chain=True)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Watches over one inference; leaving the block in time calls the watch off."""
        self._deadline[0] = self._clock() + self.limit_s
        signal.setitimer(signal.ITIMER_REAL, self.limit_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._deadline[0] = _NONE

    def hung(self) -> bool:
        """Whether the watched process ended because an inference outlasted its limit; asked by the master."""
        deadline = self._deadline[0]
        return deadline != _NONE and self._clock() >= deadline
