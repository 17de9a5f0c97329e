"""The half of a crew (see `crew`) that leads: takes the references, gives orders, gathers samples in its run folder."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from gevent.queue import Empty, Queue
from locust.runners import MasterRunner

from loadtest.errors import LoadTestError, RunError
from loadtest.generate import prepare
from loadtest.generate.collect import Collector
from loadtest.generate.crew import MESSAGE
from loadtest.measure.faults import Fault
from loadtest.measure.run_folder import EndRecord
from loadtest.options import ReplayOptions

# For a worker to cut the video, and to send its last samples when the run is over. Together with Locust's own wait for
# its workers this is less than the patience of `replay.watch`, so that the reason is told here.
READY_S = 60.0
FAREWELL_S = 30.0
# Locust counts the seconds without a sign of life below zero; a machine may be too busy for one for some moments.
LOST_S = 10
LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class _Word:
    """A worker's message: who, which of its users, what kind, and the rest."""

    worker: str
    ticket: str
    kind: str
    body: Any


class Lead:
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
