"""A sleep that wakes within a tenth of a millisecond; gevent's own timers are up to a whole one late."""

import ctypes
import os
from types import TracebackType

import gevent
from gevent import socket as waiting

CLOCK_MONOTONIC = 1
# The values of O_NONBLOCK and O_CLOEXEC, which timerfd_create takes under other names.
TIMER_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
NANOSECONDS = 1_000_000_000


class _Setting(ctypes.Structure):
    """`struct itimerspec`: a period (unused) and the time to wait."""

    _fields_ = (
        ("period_s", ctypes.c_long),
        ("period_ns", ctypes.c_long),
        ("wait_s", ctypes.c_long),
        ("wait_ns", ctypes.c_long),
    )


class FineTimer:
    """One Linux timer for one greenlet; use it with `with`. Where there is no such timer, gevent's is used.

    Attributes:
        descriptor: of the timer, -1 while there is none.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = -1

    def __enter__(self) -> "FineTimer":
        if hasattr(self._libc, "timerfd_create"):
            self.descriptor = self._libc.timerfd_create(CLOCK_MONOTONIC, TIMER_FLAGS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def sleep(self, seconds: float) -> None:
        """Lets other greenlets run for so long; 0 gives each of them one turn."""
        if self.descriptor < 0 or seconds <= 0:
            gevent.sleep(max(0.0, seconds))
            return
        # Less than a nanosecond would disarm the timer.
        whole_s, rest_ns = divmod(max(1, int(seconds * NANOSECONDS)), NANOSECONDS)
        setting = _Setting(0, 0, whole_s, rest_ns)
        if self._libc.timerfd_settime(self.descriptor, 0, ctypes.byref(setting), None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        waiting.wait_read(self.descriptor)
        os.read(self.descriptor, 8)
