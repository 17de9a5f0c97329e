"""Lets a process that watches others go on by itself after it was stopped: nobody else would notice."""

import ctypes
import os
import signal
import struct

# Of time.h and signal.h.
CLOCK_MONOTONIC = 1
SIGEV_SIGNAL = 0
SIGEVENT = "Pii48x"
TIMERSPEC = "llll"


def go_on_when_stopped(every_s: int = 1) -> None:
    """Has the kernel send this process SIGCONT over and over; from the main thread alone, and again after an exec.

    Args:
        every_s: s it stays stopped at most.

    Raises:
        OSError: the kernel has no timer left.
    """
    # A signal that is ignored, as SIGCONT is by default, would end the timer (Linux 6.13).
    signal.signal(signal.SIGCONT, lambda *_: None)
    # What is stopped while its parent dies gets this too.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    libc, timer = ctypes.CDLL(None, use_errno=True), ctypes.c_void_p()
    event = struct.pack(SIGEVENT, 0, signal.SIGCONT, SIGEV_SIGNAL)
    times = struct.pack(TIMERSPEC, every_s, 0, every_s, 0)
    if libc.timer_create(CLOCK_MONOTONIC, event, ctypes.byref(timer)) or libc.timer_settime(timer, 0, times, None):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
