"""One generator's part of a run inside Locust: [Prepared] -> requests fired on time -> samples and faults."""

import ctypes
import errno
import gc
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

import gevent
from gevent import socket as waiting
from gevent.pool import Group
from locust import FastHttpUser
from locust.contrib.fasthttp import ResponseContextManager

from loadtest.frames.payloads import payload
from loadtest.frames.schedule import Arrival
from loadtest.generate.collect import Outlet
from loadtest.generate.prepare import Prepared
from loadtest.measure.faults import Fault
from loadtest.measure.run_folder import EndRecord
from loadtest.measure.sample_files import SampleWriter
from loadtest.measure.samples import NAN, Sample
from loadtest.options import ReplayOptions
from loadtest.target.api_key import key_header
from loadtest.target.verdict import Outcome, Verdict, batch_size, judge, stage_times

# A closed loop must not hammer a service that refuses it.
REFUSED_PAUSE_S = 0.05


CLOCK_MONOTONIC = 1
# The values of O_NONBLOCK and O_CLOEXEC, which timerfd_create takes under other names.
TIMER_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
NANOSECONDS = 1_000_000_000
# The generator has no more connections to give: its own shortage, not the service's failure.
OUT_OF_CONNECTIONS = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS)


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


class Run:
    """One part of a run: owns its clock and its requests in flight.

    Args:
        user: whose HTTP client is used.
        options: the run's settings.
        prepared: bodies, right answers, schedule.
        outlet: takes the results.
    """

    def __init__(self, user: FastHttpUser, options: ReplayOptions, prepared: Prepared, outlet: Outlet) -> None:
        self._user = user
        self._options = options
        self._prepared = prepared
        self._outlet = outlet
        self._flights = Group()
        self._start = 0.0
        self._starved = 0
        self._samples = SampleWriter(outlet.samples, time.monotonic)
        self._headers = {"Accept-Encoding": "identity", **key_header()}
        if content_type := payload(options.payload).content_type:
            self._headers["Content-Type"] = content_type

    def make(self, start: float | None = None) -> None:
        """Fires all arrivals and waits for the answers.

        Args:
            start: moment of `time.perf_counter` from which the schedule counts; now, if not given.
        """
        with FineTimer() as timer, _punctual():
            self._start = start or time.perf_counter()
            self._make(timer)

    def _make(self, timer: FineTimer) -> None:
        complete, cpu = False, time.process_time()
        try:
            with self._samples:
                try:
                    self._dispatch(timer)
                    complete = bool(self._flights.join(timeout=self._patience_s()))
                finally:
                    self._flights.kill()
        finally:
            elapsed_s = max(self._clock(), 1e-3)
            cpu_share = (time.process_time() - cpu) / elapsed_s
            self._outlet.end(EndRecord(complete, elapsed_s, cpu_share, starved=self._starved))

    def _dispatch(self, timer: FineTimer) -> None:
        edge = Edge(self._clock, timer.sleep, self._flights.spawn, self._fire, self._drop)
        prepared, newest = self._prepared, self._options.keep == "newest"
        dispatcher = Dispatcher(edge, prepared.in_flight, newest=newest)
        if self._options.closed:
            dispatcher.run_closed(prepared.cameras, len(prepared.bodies), self._options.length_s)
        else:
            dispatcher.run(prepared.arrivals)

    def _patience_s(self) -> float:
        """How long to wait for the last answers; one may trickle in for longer than the socket's own limit allows."""
        left_s = max(0.0, self._options.length_s - self._clock()) if self._options.closed else 0.0
        return left_s + 2 * self._options.wait_s

    def _clock(self) -> float:
        return time.perf_counter() - self._start

    def _fire(self, arrival: Arrival, ready_s: float) -> bool:
        request_id = f"replay-{arrival.camera}-{arrival.due_s:.6f}"
        # Locust's annotation knows only text bodies; bytes go out as they are.
        body = cast(Any, self._prepared.bodies[arrival.frame])
        headers = self._headers | {"X-Request-ID": request_id}
        sent_s = self._clock()
        with self._user.client.post(self._options.path, data=body, headers=headers, catch_response=True) as response:
            done_s = self._clock()
            outcome = self._judge(arrival, response)
            sample = _sample(arrival, response, outcome.verdict, (ready_s, sent_s, done_s))
            # Locust's figures shall count from the scheduled moment too.
            response.request_meta["response_time"] = (done_s - arrival.due_s) * 1e3
            if outcome.verdict is Verdict.SAME:
                response.success()
            else:
                response.failure(outcome.reason)
        self._note(sample, outcome, request_id)
        return outcome.verdict is Verdict.SAME

    def _judge(self, arrival: Arrival, response: ResponseContextManager) -> Outcome:
        error = response.request_meta["exception"]
        if isinstance(error, OSError) and error.errno in OUT_OF_CONNECTIONS:
            self._starved += 1
            return Outcome(Verdict.DROPPED, f"not sent: the generator is out of connections: {error}")
        if error:
            return Outcome(Verdict.FAILED, f"no answer: {type(error).__name__}: {error}")
        return judge(response.status_code, response.content or b"", self._prepared.expected[arrival.frame])

    def _drop(self, arrival: Arrival) -> None:
        newest = self._options.keep == "newest"
        reason = "a newer frame took its place" if newest else f"{self._prepared.in_flight} frames are unanswered"
        outcome = Outcome(Verdict.DROPPED, f"not sent: {reason}")
        self._user.environment.events.request.fire(
            request_type="POST",
            name=self._options.path,
            response_time=None,
            response_length=0,
            exception=RuntimeError(outcome.reason),
            context={},
        )
        self._note(Sample(arrival.camera, arrival.frame, arrival.due_s, NAN, NAN, 0, Verdict.DROPPED), outcome, "")

    def _note(self, sample: Sample, outcome: Outcome, request_id: str) -> None:
        self._samples.write(sample)
        if outcome.verdict is not Verdict.SAME:
            due_s, reason = sample.scheduled_s, outcome.reason
            self._outlet.fault(
                Fault(sample.camera, sample.frame, due_s, outcome.verdict, sample.instance, request_id, reason)
            )


@contextmanager
def _punctual() -> Iterator[None]:
    """Keeps what would make frames late out of the way, as far as this process may."""
    # Frames and references live to the end: collections need not look at them again and again.
    gc.collect()
    gc.freeze()
    # On a machine that also runs the service, the generator must get a core when a frame falls due. Nice values do not
    # do that across sessions (autogroups); a real-time class does, which only root may take.
    usual = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *usual)


def _sample(
    arrival: Arrival, response: ResponseContextManager, verdict: Verdict, moments: tuple[float, float, float]
) -> Sample:
    """The sample of a reply; the moments are those at which it could be sent, was sent, and was there."""
    if verdict is Verdict.DROPPED:
        return Sample(arrival.camera, arrival.frame, arrival.due_s, NAN, NAN, 0, verdict)
    ready_s, sent_s, done_s = moments
    error = response.request_meta["exception"]
    timing = _header(response, "Server-Timing")
    stages = stage_times(timing)
    return Sample(
        camera=arrival.camera,
        frame=arrival.frame,
        scheduled_s=arrival.due_s,
        sent_s=sent_s,
        done_s=done_s,
        status=0 if error else response.status_code,
        verdict=verdict,
        instance=_header(response, "X-Instance"),
        decode_ms=stages.get("decode", NAN),
        queue_ms=stages.get("queue", NAN),
        infer_ms=stages.get("infer", NAN),
        post_ms=stages.get("post", NAN),
        batch=batch_size(timing),
        response_bytes=0 if error else len(response.content or b""),
        held_s=ready_s - arrival.due_s,
    )


def _header(response: ResponseContextManager, name: str) -> str:
    """A header's text; empty if it is absent, the first one if it came twice."""
    value = response.headers.get(name) if response.headers else None
    if isinstance(value, list):
        value = value[0]
    return str(value or "")
