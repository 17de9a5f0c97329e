"""Several load generators that make one run, on one machine or more: messages between Locust's master and its workers.

```
worker -> master  ready   the video is cut, here is its digest        (or: trouble, with its reason)
master -> worker  go      your part of so many, the references; the schedule begins LEAD_S after this message
worker -> master  samples, fault ...   as they come
worker -> master  end     how the generator fared
```
Workers share nothing but the network: each cuts its own copy of the video, the master's folder keeps all results.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from gevent.event import AsyncResult
from locust.runners import WorkerRunner

from loadtest.measure.faults import MOST, Fault
from loadtest.measure.run_folder import EndRecord
from loadtest.target.reference import References

MESSAGE = "framefleet"
# Long enough for every worker to read its message, so that all begin at one moment.
LEAD_S = 1.0


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
