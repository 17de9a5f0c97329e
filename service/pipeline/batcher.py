"""Runs the queued frames of many requests in batches, on the one thread that owns the engine.

Work-conserving: as soon as the engine is free it takes what waits, up to its largest batch; an engine that can work on
two batches is given the second one early when it is full. Each inference is watched; a batch the engine refuses is run
again frame by frame, so that a bad frame fails alone, and suspects (`quarantine.py`) run alone from the first; an
engine that refused a frame, and one that is idle, is tested, so that a dead device ends the process instead of
answering clients with errors.

`SelfTest`: asks the engine the same question again and again: a device that fails silently answers it differently.

The question is a made-up frame, the expected answer is what the engine said to it right after warming up.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from service.admission.client_gone import never_gone
from service.engines import Candidates, Engine, EngineInfo, Later, Pending, beginner, warm_up
from service.errors import DeadlineExceeded, EngineFault, InferenceFailed, OutOfMemory, ServiceError, StartError
from service.pipeline.batch_queue import Batch, BatchQueue, Item, Slot
from service.safeguards.in_work import ENGINE, NO_MARK, InWork, Mark, not_alone

SEED = 20_261_123
# A device may round differently between runs, by far less than these; one that computes garbage misses them by far
# more. Scores are compared relative to the best one, which may itself be small: the frame shows nothing.
SCORE_TOLERANCE = 0.02
BOX_TOLERANCE_PX = 2.0
Fill = TypeVar("Fill")


class SelfTest:
    """Takes the expected answer when it is made.

    Args:
        engine: open and warmed up.
    """

    def __init__(self, engine: Engine) -> None:
        self._frame = golden_frame(engine.info.input_size)
        self._expected = engine.infer(self._frame)[0]

    def repeat(self, engine: Engine) -> None:
        """Asks again.

        Raises:
            EngineFault: the answer is another one, or the engine refused to answer.
        """
        try:
            found = engine.infer(self._frame)[0]
        except EngineFault:
            raise
        except Exception as error:
            raise EngineFault(f"self-test: the engine refused a frame it has answered before: {error}") from error
        if not agree(found, self._expected):
            raise EngineFault("self-test: the engine answered a frame differently than at start; the device is suspect")


@dataclass(frozen=True, slots=True)
class Ticket(Generic[Fill]):
    """A frame on its way: its queue item, and what its filler returned."""

    item: Item
    filled: Fill


@dataclass(frozen=True, slots=True)
class Inferred(Generic[Fill]):
    """A frame's way through the engine.

    `candidates`: float32 [k, 6]; `filled`: what the filler returned; `queue_ms`: from entering the batch until the
    engine took it; `infer_ms`: the whole batch's time in the engine; `batch_size`: frames it was inferred with.
    """

    candidates: Candidates
    filled: Fill
    queue_ms: float
    infer_ms: float
    batch_size: int


@dataclass(slots=True)
class BatcherCounts:
    """Since start: `batches` inferred, `frames` in them, frames `expired` in the queue, `self_tests` passed."""

    batches: int = 0
    frames: int = 0
    expired: int = 0
    self_tests: int = 0


@dataclass(frozen=True, slots=True)
class _Flight:
    """A batch in the engine: its live items, the clock's second it was begun, and its answer to come."""

    batch: Batch
    started: float
    pending: Pending


@dataclass(frozen=True, slots=True)
class _Refused:
    """A batch that could not be begun."""

    error: InferenceFailed

    def result(self) -> Candidates:
        raise self.error


class Batcher:
    """One engine, its thread, and the queue in front of it.

    Args:
        open_engine: makes the engine; called, entered and left on the batcher's own thread.
        queue: where the frames wait.
        on_fault: called on the batcher's thread when the engine can't be used any more; it should end the process,
            since that lets the balancer run the waiting requests elsewhere.
        guard: entered around each inference.
        self_test_every_s: an engine idle for so long is tested again; 0 never tests.
        on_batch: told the size of every batch inferred.
        in_work: told what the engine is at.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        open_engine: Callable[[], Engine],
        queue: BatchQueue,
        *,
        on_fault: Callable[[EngineFault], None],
        guard: Callable[[], AbstractContextManager[None]] = nullcontext,
        self_test_every_s: float = 0.0,
        on_batch: Callable[[int], None] = lambda size: None,
        in_work: InWork | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue = queue
        self.counts = BatcherCounts()
        self._open_engine = open_engine
        self._on_fault = on_fault
        self._guard = guard
        self._self_test_every_s = self_test_every_s or None
        self._on_batch = on_batch
        self._in_work = in_work or InWork()
        self._clock = clock
        self._info: EngineInfo | None = None
        self._start_error: BaseException | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)

    @property
    def info(self) -> EngineInfo:
        """The engine's description; known once started."""
        if self._info is None:
            raise RuntimeError("the batcher is not started")
        return self._info

    def start(self) -> None:
        """Opens, warms up and tests the engine; returns when it can answer.

        Raises:
            StartError: or whatever else the engine could not be opened for.
        """
        self._thread.start()
        self._started.wait()
        if self._start_error is not None:
            self._thread.join()
            raise self._start_error

    def stop(self) -> None:
        """Answers what is queued, closes the engine in its own thread, and returns."""
        self.queue.stop()
        self._thread.join()

    def submit(
        self,
        fill: Callable[[Slot], Fill],
        deadline: float,
        gone: Callable[[], bool] = never_gone,
        mark: Mark = NO_MARK,
        client: str = "",
    ) -> Ticket[Fill]:
        """Puts one frame into the next batch. Call it while admitted.

        Args:
            fill: writes the frame into its slot, uint8 [h, w, 3]; runs on the calling thread.
            deadline: the clock's second after which nobody wants the answer.
            gone: whether the client has hung up; asked once, when the engine is free.
            mark: stands for the frame while the engine works on it.
            client: whose it is.

        Raises:
            Overloaded: no slot; see `BatchQueue.reserve`.
        """
        item = self.queue.reserve(deadline, gone, mark, client)
        try:
            return Ticket(item, fill(item.slot))
        except BaseException:
            item.abandoned = True
            raise
        finally:
            self.queue.mark_ready(item)

    def wait(self, ticket: Ticket[Fill]) -> Inferred[Fill]:
        """Waits for a frame's candidates.

        Raises:
            DeadlineExceeded: the deadline passed first.
            InferenceFailed: the engine refused this frame.
        """
        item = ticket.item
        if not item.wait(item.deadline - self._clock()) and self.queue.abandon(item):
            raise DeadlineExceeded("no answer before the deadline; lower the rate or allow more time")
        if item.error is not None:
            raise item.error
        assert item.candidates is not None  # set before `done`
        return Inferred(
            candidates=item.candidates,
            filled=ticket.filled,
            queue_ms=(item.started - item.entered) * 1000,
            infer_ms=(item.finished - item.started) * 1000,
            batch_size=item.batch_size,
        )

    def _run(self) -> None:
        try:
            with self._open_engine() as engine:
                warm_up(engine)
                test = SelfTest(engine)
                self.queue.allocate(engine.info.max_batch, engine.info.input_size, engine.info.in_flight)
                self._info = engine.info
                self._started.set()
                self._serve(engine, test)
        except Exception as error:
            if self._started.is_set():  # no thread serves the queue any more
                self._on_fault(error if isinstance(error, EngineFault) else _unexpected(error))
            self._start_error = _cannot_start(error)
            self._started.set()

    def _serve(self, engine: Engine, test: SelfTest) -> None:
        """Begins what waits and ends what was begun, in order, until the queue has stopped and is empty.

        A second batch is begun before the first one's answer only where a largest batch waits: a smaller one would
        have grown by then.
        """
        begin = beginner(engine)
        flights: deque[_Flight] = deque()
        while flights or not self.queue.finished():
            if flights and (len(flights) == engine.info.in_flight or not self.queue.full or self._in_work.closed):
                self._end(engine, test, flights.popleft())
            elif (batch := self.queue.take(self._self_test_every_s)) is not None:
                live = self._live(batch)
                if suspects := [item for item in live if item.mark.alone]:
                    while flights:
                        self._end(engine, test, flights.popleft())
                    self._infer_singly(engine, test, suspects)
                    live = [item for item in live if not item.mark.alone]
                if live:
                    flights.append(self._begin(begin, batch, live, patient=not flights))
                else:
                    self.queue.recycle(batch)
            elif not self.queue.stopping:
                with self._guard():
                    test.repeat(engine)
                self.counts.self_tests += 1

    def _live(self, batch: Batch) -> list[Item]:
        """A batch's frames that somebody waits for; the others fail."""
        now = self._clock()
        live = []
        for item in batch.items:
            if item.wanted(now):
                live.append(item)
            else:  # its thread gives the place back at once, not at the deadline
                self.counts.expired += 1
                self._fail(item, now, DeadlineExceeded("dropped unanswered: too late, or the client has gone"))
        return live

    def _begin(self, begin: Callable[[Slot], Pending], batch: Batch, live: list[Item], *, patient: bool) -> _Flight:
        """Starts frames of a batch; `patient` where it may wait until a suspect is decoded."""
        frames = batch.keep(live)
        self._in_work.begin(ENGINE, _marks(live), patient=patient)
        started = self._clock()
        try:
            with self._guard():
                pending = begin(frames)
        except InferenceFailed as error:
            pending = _Refused(error)  # told in its turn: batches begun before it are answered first
        return _Flight(batch, started, pending)

    def _end(self, engine: Engine, test: SelfTest, flight: _Flight) -> None:
        live = flight.batch.items
        try:
            candidates = self._candidates(flight.pending, len(live))
        except InferenceFailed as error:
            # Memory may be there the next moment; any other refusal of a single frame is final.
            if len(live) == 1 and not isinstance(error, OutOfMemory):
                self._refuse(engine, test, live[0], flight.started, error)
            else:
                self._in_work.end(ENGINE, _marks(live))
                self._infer_singly(engine, test, live)
        else:
            self._finish(live, flight.started, candidates)
        self.queue.recycle(flight.batch)

    def _infer_singly(self, engine: Engine, test: SelfTest, live: list[Item]) -> None:
        """Finds the frame that a batch was refused for, or that instances die of; its neighbours get their answers."""
        for item in live:
            if not self._in_work.begin(ENGINE, _marks([item])):
                self._fail(item, self._clock(), not_alone())
                continue
            started = self._clock()
            try:
                candidates = self._candidates(Later(engine, item.slot[None]), 1)
            except InferenceFailed as error:
                self._refuse(engine, test, item, started, error)
            else:
                self._finish([item], started, candidates)

    def _refuse(self, engine: Engine, test: SelfTest, item: Item, started: float, error: InferenceFailed) -> None:
        """Fails a frame, unless it is the engine that fails: one that refuses everything would attract all requests.

        Raises:
            EngineFault: the engine does not answer the self-test either.
        """
        with self._guard():
            test.repeat(engine)
        self._in_work.end(ENGINE, _marks([item]))
        self._fail(item, started, error)

    def _candidates(self, pending: Pending, count: int) -> Candidates:
        with self._guard():
            candidates = pending.result()
        if len(candidates) != count:
            raise InferenceFailed(f"the engine gave {len(candidates)} answers to {count} frames")
        self.counts.batches += 1
        self.counts.frames += count
        self._on_batch(count)
        return candidates

    def _finish(self, live: list[Item], started: float, candidates: Candidates) -> None:
        finished = self._clock()
        self._in_work.end(ENGINE, _marks(live))
        for row, item in enumerate(live):
            item.started, item.finished, item.batch_size = started, finished, len(live)
            item.candidates = candidates[row]
            item.finish()

    def _fail(self, item: Item, started: float, error: ServiceError) -> None:
        item.started, item.finished, item.error = started, self._clock(), error
        item.finish()


def _marks(items: list[Item]) -> list[Mark]:
    return [item.mark for item in items]


def _cannot_start(error: Exception) -> Exception:
    """An engine that opened but could not answer is as good as one that did not open."""
    if not isinstance(error, InferenceFailed | EngineFault):
        return error
    failure = StartError(f"the engine opened but could not answer: {error}")
    failure.__cause__ = error
    return failure


def _unexpected(error: Exception) -> EngineFault:
    fault = EngineFault(f"the batcher ended: {error!r}")
    fault.__cause__ = error
    return fault


def golden_frame(input_size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Makes the frame: soft noise with edges at many scales, the same on every machine.

    Args:
        input_size: height, width in pixels.

    Returns:
        uint8 [1, height, width, 3].
    """
    height, width = input_size
    generator = np.random.default_rng(SEED)
    frame = np.zeros((height, width, 3), np.float32)
    for cell in (4, 16, 64):
        coarse = generator.random((-(-height // cell), -(-width // cell), 3), np.float32)
        frame += coarse.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]
    return (frame * (255 / 3)).astype(np.uint8)[None]


def agree(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> bool:
    """Whether two answers to one frame are the same but for rounding.

    Args:
        found: float32 [k, 6], in any order among equal scores.
        expected: likewise.
    """
    if found.shape != expected.shape or not np.isfinite(found).all():
        return False
    order, expected_order = np.argsort(-found[:, 4]), np.argsort(-expected[:, 4])
    scores, expected_scores = found[order, 4], expected[expected_order, 4]
    same_scores = np.abs(scores - expected_scores).max() <= SCORE_TOLERANCE * expected_scores[0]
    shift = np.abs(found[order[0], :4] - expected[expected_order[0], :4]).max()
    return bool(same_scores and shift <= BOX_TOLERANCE_PX)
