"""The bounded queue of batches in front of the engine: places, slots, and which frames are still wanted.

Request threads reserve a slot, write their frame into it and mark it ready; the batcher's thread takes the oldest
batch. No engine here, and no waiting for answers.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, Lock

import numpy as np
import numpy.typing as npt

from service.admission.client_gone import never_gone
from service.admission.ledger import Places
from service.errors import Overloaded, ServiceError
from service.safeguards.in_work import NO_MARK, Mark

Slot = npt.NDArray[np.uint8]


def _closed_lock() -> Lock:
    lock = Lock()
    lock.acquire()
    return lock


@dataclass(slots=True, eq=False)
class Item:
    """One frame's place in a batch, and what became of it.

    `deadline`, `entered`, `started`, `finished` are the clock's seconds; `slot` is its memory in `batch`; `gone` says
    whether the client has hung up; `mark` stands for it while the engine works on it; `client` is whose it is; `done`
    once `candidates` (float32 [k, 6]) or `error` is there.
    """

    deadline: float
    entered: float
    slot: Slot
    batch: "Batch"
    gone: Callable[[], bool] = never_gone
    mark: Mark = NO_MARK
    client: str = ""
    ready: bool = False
    abandoned: bool = False
    done: bool = False
    _answered: Lock = field(default_factory=_closed_lock, init=False)  # opened once; an Event costs as much as the rest
    candidates: npt.NDArray[np.float32] | None = None
    error: ServiceError | None = None
    started: float = 0.0
    finished: float = 0.0
    batch_size: int = 0

    def wanted(self, now: float) -> bool:
        """Whether anybody still waits for the answer."""
        return not self.abandoned and self.deadline > now and not self.gone()

    def finish(self) -> None:
        """Wakes the thread that waits; called once, when all else is set."""
        self.done = True
        self._answered.release()

    def wait(self, timeout_s: float) -> bool:
        """Waits until it is done, at most so many seconds; returns whether it is. For one thread, until True."""
        return self._answered.acquire(timeout=max(0.0, timeout_s))


@dataclass(slots=True, eq=False)
class Batch:
    """Frames that go into the engine together: uint8 [max_batch, h, w, 3] and their items, in slot order.

    `written`: how many of the items' slots are.
    """

    frames: Slot
    items: list[Item] = field(default_factory=list)
    written: int = 0

    @property
    def whole(self) -> bool:
        """Whether every slot is written."""
        return self.written == len(self.items)

    def keep(self, live: list[Item]) -> Slot:
        """Moves live frames over dropped ones; returns uint8 [len(live), h, w, 3]."""
        for place, item in enumerate(live):
            if self.items[place] is not item:
                np.copyto(self.frames[place], item.slot)
                item.slot = self.frames[place]
        self.items = live
        return self.frames[: len(live)]


class BatchQueue:
    """The queue.

    Args:
        size: requests admitted at once, the ones being inferred included.
        max_wait_s: how long a batch that is not full may wait for more frames.
        clock: seconds, monotonic.
    """

    def __init__(self, size: int, max_wait_s: float, clock: Callable[[], float]) -> None:
        self.size = size
        self._places = Places(size, clock)
        self.shed = 0
        self.stopping = False
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._max_batch = 0
        self._served: dict[str, int] = {}
        self._lock = Lock()
        self._news = Condition(self._lock)  # for the batcher's thread: told only what it can act upon
        self._waiting: deque[Batch] = deque()
        self._closed: Batch | None = None  # taken, with slots still being written
        self._free: list[Batch] = []

    @property
    def admitted(self) -> int:
        """Requests in the instance."""
        return self._places.taken

    @property
    def depth(self) -> int:
        """Frames that wait for the engine."""
        return sum(len(batch.items) for batch in tuple(self._waiting))

    @property
    def full(self) -> bool:
        """Whether a largest batch waits with every slot written: taking it keeps nobody waiting."""
        with self._lock:
            return bool(self._waiting) and self._waiting[0].written == self._max_batch

    def allocate(self, max_batch: int, input_size: tuple[int, int], in_flight: int = 1) -> None:
        """Makes all batches there can ever be: the queue's, and the `in_flight` ones in the engine."""
        self._max_batch = max_batch
        batches = -(-self._places.most // max_batch) + in_flight
        self._free = [Batch(np.empty((max_batch, *input_size, 3), np.uint8)) for _ in range(batches)]

    @contextmanager
    def admit(self, places: int = 1, client: str = "", beside: int = 0) -> Iterator[None]:
        """Holds places while a request of so many frames is worked on.

        Args:
            places: frames.
            client: who asks; several share the places.
            beside: places that the same request holds already.

        Raises:
            Overloaded: not that many places are free.
        """
        with self._lock:
            if not self._places.take(client, places, beside):
                self.shed += 1
                raise Overloaded(f"this instance already works on {self.admitted} of at most {self.size}; try again")
        try:
            yield
        finally:
            with self._lock:
                self._places.give_back(client, places)

    def reserve(self, deadline: float, gone: Callable[[], bool], mark: Mark = NO_MARK, client: str = "") -> Item:
        """Takes the next slot.

        Raises:
            Overloaded: the instance is stopping, or there is no slot, which does not happen while places are held.
        """
        with self._lock:
            if self.stopping:
                raise Overloaded("this instance is stopping; try again")
            if not self._waiting or len(self._waiting[-1].items) == self._max_batch:
                if not self._free:
                    batch, place = self._given_up()
                    item = Item(deadline, self._clock(), batch.items[place].slot, batch, gone, mark, client)
                    batch.items[place] = item
                    batch.written -= 1
                    return item
                self._waiting.append(self._free.pop())
            batch = self._waiting[-1]
            item = Item(deadline, self._clock(), batch.frames[len(batch.items)], batch, gone, mark, client)
            batch.items.append(item)
            return item

    def mark_ready(self, item: Item) -> None:
        """Says that the item's slot is written, or will never be (`abandoned`)."""
        with self._lock:
            batch = item.batch
            item.ready = True
            batch.written += 1
            if self._closed is not None:
                news = batch is self._closed and batch.whole
            else:  # the first slot written lets the oldest batch go, at once or in a while; the last one at once
                news = batch is self._waiting[0] and (batch.written == 1 or len(batch.items) == self._max_batch)
            if news:
                self._news.notify()

    def take(self, patience_s: float | None = None) -> Batch | None:
        """Waits for work and closes the oldest batch.

        Args:
            patience_s: gives up after so many seconds without work; None never does.

        Returns:
            A batch whose every slot is written, or None: out of patience, or stopping with nothing left.
        """
        with self._lock:
            give_up = None if patience_s is None else self._clock() + patience_s
            while (due_s := self._due_s()) > 0:
                left_s = math.inf if give_up is None else give_up - self._clock()
                if (self.stopping and not self._waiting) or left_s <= 0:
                    return None
                nap_s = min(due_s, left_s)
                self._news.wait(nap_s if nap_s < math.inf else None)
            batch = self._closed = self._next()
            while not batch.whole:  # the others are being letterboxed right now, which takes about a millisecond
                self._news.wait()
            self._closed = None
            return batch

    def recycle(self, batch: Batch) -> None:
        """Gives a batch's memory back."""
        batch.items, batch.written = [], 0
        with self._lock:
            self._free.append(batch)

    def finished(self) -> bool:
        """Whether nothing will ever come again."""
        with self._lock:
            return self.stopping and not self._waiting

    def abandon(self, item: Item) -> bool:
        """Gives an item up, unless it is done by now; returns whether it was."""
        with self._lock:
            item.abandoned = not item.done
            return item.abandoned

    def stop(self) -> None:
        """Refuses new frames from now on."""
        with self._lock:
            self.stopping = True
            self._news.notify()

    def _given_up(self) -> tuple[Batch, int]:
        """Where a frame waits that nobody wants any more: its place was given back, so its slot is somebody else's."""
        for batch in self._waiting:
            for place, item in enumerate(batch.items):
                if item.ready and item.abandoned:
                    return batch, place
        self.shed += 1
        raise Overloaded("this instance is behind with work already given up; try again")

    def _next(self) -> Batch:
        """Takes the oldest batch; of single frames the one whose client was served longest ago."""
        if self._max_batch > 1 or len(self._waiting) == 1:
            return self._waiting.popleft()
        ready = [batch for batch in self._waiting if batch.items[0].ready]
        batch = min(ready, key=lambda batch: self._served.get(batch.items[0].client, 0))
        self._waiting.remove(batch)
        waiting = {batch.items[0].client for batch in self._waiting}
        last = max(self._served.values(), default=0)
        served = {**self._served, batch.items[0].client: last + 1}
        self._served = {client: turn for client, turn in served.items() if client in waiting}
        return batch

    def _due_s(self) -> float:
        """Seconds until the oldest batch may go, as things are; infinite where it takes news."""
        if not self._waiting or not self._waiting[0].written:
            return math.inf
        items = self._waiting[0].items
        if len(items) == self._max_batch or self.stopping:
            return 0.0
        return items[0].entered + self._max_wait_s - self._clock()
