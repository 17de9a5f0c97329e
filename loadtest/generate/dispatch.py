"""Fires arrivals at their moments whatever the server does (open loop): [Arrival...] -> fire | drop.

The clock, the sleep and the way to start a greenlet are arguments, so the rule is the same under gevent and in a test.

`FineTimer`: a sleep that wakes within a tenth of a millisecond; gevent's own timers are up to a whole one late.
"""

import ctypes
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType

import gevent
from gevent import socket as waiting

from loadtest.frames.schedule import Arrival

CLOCK_MONOTONIC = 1
# The values of O_NONBLOCK and O_CLOEXEC, which timerfd_create takes under other names.
TIMER_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
NANOSECONDS = 1_000_000_000
# A closed loop must not hammer a service that refuses it.
REFUSED_PAUSE_S = 0.05


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


@dataclass(frozen=True, slots=True)
class Edge:
    """Where the dispatcher touches the world.

    Attributes:
        clock: seconds since the start of the run.
        sleep: waits for so many seconds while requests go on.
        spawn: starts a call and returns at once.
        fire: sends one frame and waits for its answer, in a spawned call; is told the moment from which the frame could
            have been sent, and tells whether it was answered right.
        drop: takes note of a frame that is never sent.
    """

    clock: Callable[[], float]
    sleep: Callable[[float], object]
    spawn: Callable[[Callable[[], None]], object]
    fire: Callable[[Arrival, float], bool]
    drop: Callable[[Arrival], None]


class Dispatcher:
    """Sends each camera's frames on time, with a bound on how many of them may wait for an answer.

    Args:
        edge: clock, sleep, spawn, fire and drop.
        in_flight: greatest number of unanswered frames per camera.
        newest: a frame beyond the bound is kept until an answer makes room, unless a newer one takes its place, as in a
            real camera's buffer. Otherwise it is dropped at once.
    """

    def __init__(self, edge: Edge, in_flight: int, *, newest: bool = False) -> None:
        self._edge = edge
        self._limit = in_flight
        self._newest = newest
        self._flying: Counter[int] = Counter()
        self._kept: dict[int, Arrival] = {}

    def run(self, arrivals: Iterable[Arrival]) -> None:
        """Goes through the arrivals, which must be in order; returns when the last one fell due."""
        for arrival in arrivals:
            self._wait_until(arrival.due_s)
            if self._flying[arrival.camera] < self._limit:
                self._start(arrival)
            elif self._newest:
                self._keep(arrival)
            else:
                self._edge.drop(arrival)

    def run_closed(self, cameras: Iterable[int], frames: int, until_s: float) -> None:
        """Starts one client per camera that sends its next frame as soon as it was answered, until the moment given."""
        for camera in cameras:
            self._edge.spawn(self._client(camera, frames, until_s))

    def _wait_until(self, due_s: float) -> None:
        # A timer may fire a little early, hence the loop. A late moment is not made up for, its lateness is recorded;
        # but even then the requests that are under way must get their turn, hence the sleep of nothing.
        self._edge.sleep(max(0.0, due_s - self._edge.clock()))
        while (left_s := due_s - self._edge.clock()) > 0:
            self._edge.sleep(left_s)

    def _keep(self, arrival: Arrival) -> None:
        older = self._kept.get(arrival.camera)
        if older is not None:
            self._edge.drop(older)
        self._kept[arrival.camera] = arrival

    def _start(self, arrival: Arrival) -> None:
        self._flying[arrival.camera] += 1
        self._edge.spawn(lambda: self._fly(arrival))

    def _fly(self, arrival: Arrival) -> None:
        """Sends a frame, then whichever was kept meanwhile."""
        ready_s, following = arrival.due_s, arrival
        try:
            while True:
                self._edge.fire(following, ready_s)
                kept = self._kept.pop(arrival.camera, None)
                if kept is None:
                    return
                ready_s, following = self._edge.clock(), kept
        finally:
            self._flying[arrival.camera] -= 1

    def _client(self, camera: int, frames: int, until_s: float) -> Callable[[], None]:
        def send_until_then() -> None:
            number = camera
            while (now_s := self._edge.clock()) < until_s:
                if not self._edge.fire(Arrival(camera, number % frames, now_s), now_s):
                    self._edge.sleep(REFUSED_PAUSE_S)
                number += 1

        return send_until_then
