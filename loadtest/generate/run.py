"""One generator's part of a run inside Locust: [Prepared] -> requests fired on time -> samples and faults."""

import errno
import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from gevent.pool import Group
from locust import FastHttpUser
from locust.contrib.fasthttp import ResponseContextManager

from framefleet.wire.timing import read_batch_size, read_server_timing
from loadtest.frames.payloads import payload
from loadtest.frames.schedule import Arrival
from loadtest.generate.collect import Outlet
from loadtest.generate.dispatch import Dispatcher, Edge, FineTimer
from loadtest.generate.prepare import Prepared
from loadtest.measure.faults import Fault
from loadtest.measure.run_folder import EndRecord
from loadtest.measure.sample_files import SampleWriter
from loadtest.measure.samples import NAN, Sample
from loadtest.options import ReplayOptions
from loadtest.target.api_key import key_header
from loadtest.target.verdict import Outcome, Verdict, judge

# The generator has no more connections to give: its own shortage, not the service's failure.
OUT_OF_CONNECTIONS = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS)


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
    stages = read_server_timing(timing)
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
        batch=read_batch_size(timing),
        response_bytes=0 if error else len(response.content or b""),
        held_s=ready_s - arrival.due_s,
    )


def _header(response: ResponseContextManager, name: str) -> str:
    """A header's text; empty if it is absent, the first one if it came twice."""
    value = response.headers.get(name) if response.headers else None
    if isinstance(value, list):
        value = value[0]
    return str(value or "")
