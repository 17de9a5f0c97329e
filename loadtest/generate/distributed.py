"""Several load generators that make one run, on one machine or more: messages between Locust's master and its workers.

```
worker -> master  ready   the video is cut, here is its digest        (or: trouble, with its reason)
master -> worker  go      your part of so many, the references; the schedule begins LEAD_S after this message
worker -> master  samples, fault ...   as they come
worker -> master  end     how the generator fared
```
Workers share nothing but the network: each cuts its own copy of the video, the master's folder keeps all results.

`Lead` is the half that leads: takes the references, gives orders, gathers samples in its run folder.
"""

import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from gevent.event import AsyncResult
from gevent.queue import Empty, Queue
from locust.runners import MasterRunner, WorkerRunner

from loadtest.errors import LoadTestError, RunError
from loadtest.generate import prepare
from loadtest.generate.collect import Collector
from loadtest.measure.faults import MOST, Fault
from loadtest.measure.run_folder import EndRecord
from loadtest.options import ReplayOptions
from loadtest.target.reference import References

# For a worker to cut the video, and to send its last samples when the run is over. Together with Locust's own wait for
# its workers this is less than the patience of `replay.watch`, so that the reason is told here.
READY_S = 60.0
FAREWELL_S = 30.0
# Locust counts the seconds without a sign of life below zero; a machine may be too busy for one for some moments.
LOST_S = 10
LOOK_EVERY_S = 1.0
MESSAGE = "framefleet"
# Long enough for every worker to read its message, so that all begin at one moment.
LEAD_S = 1.0


@dataclass(frozen=True, slots=True)
class _Word:
    """A worker's message: who, which of its users, what kind, and the rest."""

    worker: str
    ticket: str
    kind: str
    body: Any


class Leader:
    """The master's half, made once per process.

    Args:
        runner: connection to the workers.
    """

    def __init__(self, runner: MasterRunner) -> None:
        self._runner = runner
        self._inbox: Queue[_Word] = Queue()
        runner.register_message(MESSAGE, self._hear)

    def conduct(self, options: ReplayOptions, url: str, folder: Path, given: Path | None, parts: int) -> None:
        """Makes one run with so many generators; afterwards the folder holds its results.

        Raises:
            LoadTestError: it could not be made.
        """
        while not self._inbox.empty():
            self._inbox.get()
        work = prepare.load(options)
        references = prepare.lead(options, work, url, folder, given)
        ready = [self._next_ready(work.frames.digest) for _ in range(parts)]
        with Collector(folder, parts) as collector:
            for part, word in enumerate(ready):
                orders = {"ticket": word.ticket, "part": part, "parts": parts}
                orders["references"] = msgspec.json.encode(references)
                self._runner.send_message(MESSAGE, orders, word.worker)
            self._collect(collector, ready, options)

    def _collect(self, collector: Collector, ready: Sequence[_Word], options: ReplayOptions) -> None:
        parts = {word.ticket: part for part, word in enumerate(ready)}
        at_work = {word.ticket: word.worker for word in ready}
        until = time.monotonic() + options.length_s + 2 * options.wait_s + FAREWELL_S
        while not collector.finished:
            word = self._next(until - time.monotonic(), at_work.values())
            if word.ticket in parts:
                _deliver(word, collector, parts[word.ticket])
            if word.kind == "end":
                at_work.pop(word.ticket, None)

    def _next_ready(self, digest: str) -> _Word:
        word = self._next(READY_S)
        while word.kind != "ready":
            word = self._next(READY_S)
        if word.body != digest:
            raise RunError(f"load generator {word.worker}: its video gives other frames than the master's; copy it")
        return word

    def _next(self, timeout_s: float, workers: Collection[str] = ()) -> _Word:
        """The next message; these workers have to stay alive meanwhile."""
        until = time.monotonic() + timeout_s
        while True:
            self._demand_alive(workers)
            try:
                word: _Word = self._inbox.get(timeout=min(LOOK_EVERY_S, max(0.0, until - time.monotonic())))
            except Empty:
                if time.monotonic() >= until:
                    raise RunError("a load generator fell silent; see its log") from None
                continue
            if word.kind == "trouble":
                raise RunError(f"load generator {word.worker}: {word.body}")
            return word

    def _demand_alive(self, workers: Collection[str]) -> None:
        for worker in workers:
            node = self._runner.clients.get(worker)
            if node is None or node.heartbeat < -LOST_S:
                raise RunError(f"load generator {worker}: died, or its connection broke; see its log")

    def _hear(self, environment: object, msg: Any) -> None:
        self._inbox.put(_Word(msg.node_id, msg.data["ticket"], msg.data["kind"], msg.data["body"]))


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is told.

    Attributes:
        part: its number, from 0.
        parts: number of generators.
        references: the right answers.
        start: moment of its own `time.perf_counter` at which the schedule begins.
    """

    part: int
    parts: int
    references: References
    start: float


class Member:
    """A worker's half, made once per process.

    Args:
        runner: connection to the master.
    """

    def __init__(self, runner: WorkerRunner) -> None:
        self._runner = runner
        self._waiting: dict[str, AsyncResult[Orders]] = {}
        runner.register_message(MESSAGE, self._hear)

    def join(self, digest: str) -> "tuple[Orders, MessageOutlet]":
        """Reports for work and waits for orders.

        Args:
            digest: of the frames this worker will send.
        """
        ticket = uuid.uuid4().hex
        answer: AsyncResult[Orders] = AsyncResult()
        self._waiting[ticket] = answer
        self._send(ticket, "ready", digest)
        orders = answer.get()
        return orders, MessageOutlet(lambda kind, body: self._send(ticket, kind, body))

    def give_up(self, reason: str) -> None:
        """Tells the master that this worker cannot take part."""
        self._send("", "trouble", reason)

    def _hear(self, environment: object, msg: Any) -> None:
        data = msg.data
        references = msgspec.json.decode(data["references"], type=References)
        orders = Orders(data["part"], data["parts"], references, time.perf_counter() + LEAD_S)
        if answer := self._waiting.pop(data["ticket"], None):
            answer.set(orders)

    def _send(self, ticket: str, kind: str, body: object) -> None:
        self._runner.send_message(MESSAGE, {"ticket": ticket, "kind": kind, "body": body})


class MessageOutlet:
    """An outlet that leads to the master; see `collect.Outlet`."""

    def __init__(self, send: Callable[[str, object], None]) -> None:
        self._send = send
        self._faults = 0

    def samples(self, block: bytes) -> None:
        """Sends whole sample records."""
        self._send("samples", block)

    def fault(self, fault: Fault) -> None:
        """Sends one fault, unless more than are kept were sent."""
        self._faults += 1
        if self._faults <= MOST:
            self._send("fault", msgspec.json.encode(fault))

    def end(self, end: EndRecord) -> None:
        """Sends the last word."""
        self._send("end", msgspec.json.encode(end))


def _deliver(word: _Word, collector: Collector, part: int) -> None:
    outlet = collector.outlet(part)
    try:
        if word.kind == "samples":
            outlet.samples(word.body)
        elif word.kind == "fault":
            outlet.fault(msgspec.json.decode(word.body, type=Fault))
        elif word.kind == "end":
            outlet.end(msgspec.json.decode(word.body, type=EndRecord))
    except msgspec.MsgspecError as error:
        raise LoadTestError(f"load generator {word.worker}: {error}; use one version on all machines") from None
