"""The pipeline of one request: bodies -> pixels -> slots -> candidates -> boxes, with the time each stage took."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from service.admission.pool import Part
from service.admission.visit import DRAWN_BYTES_A_PIXEL, Visit, lanes, make_pools
from service.engines import Candidates, Engine, load_engine
from service.errors import EngineFault, ServiceError, forget
from service.log import log_event
from service.pictures.image import NO_PIXELS, Frame, ImageLimits, Letterbox, letterbox
from service.pipeline.batch_queue import BatchQueue, Slot
from service.pipeline.batcher import Batcher, Ticket
from service.pipeline.boxes import Boxes, Selection, select, unletterbox
from service.pipeline.gpu import GpuCollector, gpu_collector
from service.pipeline.large_pictures import Decoder
from service.pipeline.metrics import BatcherCollector, Metrics
from service.pipeline.stages import Stages
from service.safeguards.in_work import Mark
from service.safeguards.quarantine import Case, Quarantine
from service.safeguards.watchdog import Watchdog
from service.settings import Settings

EXIT_ENGINE_FAULT = 70
LAST_ANSWERS_S = 0.1  # answers that are ready by now are still being written
Entry = TypeVar("Entry")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class Detections:
    """The answer to one picture: its `boxes` in the picture's own pixels, the decoded `frame`, and the `stages`.

    The frame has its pixels where they were wished for, to draw into; else its size alone.
    `batch_size` is how many frames it was inferred with.
    """

    boxes: Boxes
    frame: Frame
    stages: Stages
    batch_size: int = 1


@dataclass(frozen=True, slots=True)
class Inference:
    """The answer to one frame that was letterboxed elsewhere.

    `candidates`: float32 [k, 6], see `Engine.infer`; `stages`; `batch_size`: frames it was inferred with.
    """

    candidates: Candidates
    stages: Stages
    batch_size: int


@dataclass(frozen=True, slots=True)
class Wish:
    """How a request wants its pictures answered.

    `selection`: threshold and NMS rules; `clip`: whether boxes are cut at the picture's edge; `draw`: whether the
    pixels are wanted.
    """

    selection: Selection
    clip: bool = True
    draw: bool = False


@dataclass(frozen=True, slots=True)
class _Submitted:
    frame: Frame
    ticket: Ticket[Letterbox]
    decode_ms: float


class Detector:
    """Detects objects in pictures; made once per instance, used by every request thread.

    Args:
        settings: the instance's settings.
        open_engine: makes the engine; the default takes what the settings name.
        watchdog: bounds each inference.
        on_fault: called when the engine is beyond repair; the default ends the process with exit code 70.
        quarantine: keeps out pictures that instances die of.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        open_engine: Callable[[], Engine] | None = None,
        watchdog: Watchdog | None = None,
        on_fault: Callable[[EngineFault], None] | None = None,
        quarantine: Quarantine | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._limits = ImageLimits(settings.max_pixels, settings.max_side)
        self._quarantine = quarantine or Quarantine(None)
        self.pools = make_pools(settings, clock)
        self._decoder = Decoder(lanes(), self.pools.buffers)
        self.metrics = Metrics()
        self.gpus: GpuCollector | None = None
        self.batcher = Batcher(
            open_engine or (lambda: load_engine(settings)),
            BatchQueue(settings.queue_size, settings.max_wait_ms / 1000, clock),
            on_fault=on_fault or end_process,
            guard=(watchdog or Watchdog(settings.watchdog_s)).guard,
            self_test_every_s=settings.self_test_s,
            on_batch=self.metrics.batches.observe,
            in_work=self._quarantine.in_work,
            clock=clock,
        )

    def start(self) -> None:
        """Opens the engine; returns when it can answer.

        Raises:
            StartError: it cannot.
        """
        self.batcher.start()
        self.metrics.watch(BatcherCollector(self.batcher))
        self.gpus = gpu_collector()
        if self.gpus:
            self.metrics.watch(self.gpus)
        if self._settings.jpeg_scaling:
            self._limits = replace(self._limits, shrink_to=self.batcher.info.input_size)

    @contextmanager
    def visiting(self, client: str, timeout_ms: float, gone: Callable[[], bool]) -> Iterator[Visit]:
        """Takes a request in, before its body is read.

        Args:
            client: who asks.
            timeout_ms: from now until nobody wants the answer.
            gone: whether the client has hung up.

        Raises:
            Overloaded: there is no place left for this client.
        """
        deadline = self._clock() + timeout_ms / 1000
        with self.batcher.queue.admit(1, client):
            visit = Visit(self.pools, client, 1, deadline, gone)
            try:
                yield visit
            finally:
                visit.close()

    def detect(self, pictures: list[bytes | memoryview], wish: Wish, visit: Visit) -> list[Detections | ServiceError]:
        """Detects the objects in each picture; a picture that fails does so alone.

        Args:
            pictures: see `body.decode`; they are inferred together where the engine takes batches. Each is
                taken out of the list when it is decoded, so that nobody holds it any longer.
            wish: what the request asks for.
            visit: the request, in whose time the answer has to come.

        Returns:
            As many answers as there were pictures, in their order; an error in the place of a picture that failed.

        Raises:
            Overloaded: the instance has not that many places.
        """
        with self._admit(len(pictures), visit), self._quarantine.watch(pictures) as case:
            submits = [
                partial(self._submit, case, index, pictures, wish, visit.part()) for index in range(len(pictures))
            ]
            outcomes = _run(submits, partial(self._finish, wish=wish))
            for index, outcome in enumerate(outcomes):
                case.close(index, outcome)
            return outcomes

    def _submit(self, case: Case, index: int, pictures: list[bytes | memoryview], wish: Wish, part: Part) -> _Submitted:
        """Decodes a picture, and letterboxes it into its slot of the next batch."""
        case.check(index)
        picture, pictures[index] = pictures[index], b""
        started = self._clock()
        drawn_bytes = DRAWN_BYTES_A_PIXEL if wish.draw else 0
        try:
            with self._decoder.decoded(picture, self._limits, part, case.decoding(index), drawn_bytes) as frame:
                fill = partial(letterbox, frame)
                ticket = self.batcher.submit(fill, part.deadline, part.gone, case.mark(index), part.client)
            frame = frame if wish.draw else Frame(NO_PIXELS, frame.width, frame.height)
            part.keep(2 * frame.pixels.nbytes)
        except BaseException:
            part.release()
            raise
        return _Submitted(frame, ticket, (self._clock() - started) * 1000)

    def _finish(self, submitted: _Submitted, wish: Wish) -> Detections:
        """Waits for the engine, selects boxes and takes them back to the picture's own pixels."""
        inferred = self.batcher.wait(submitted.ticket)
        answered = self._clock()
        boxes = unletterbox(select(inferred.candidates, wish.selection), inferred.filled, clip=wish.clip)
        stages = Stages(
            decode_ms=submitted.decode_ms,
            queue_ms=inferred.queue_ms,
            infer_ms=inferred.infer_ms,
            post_ms=(self._clock() - answered) * 1000,
        )
        self.metrics.record(stages)
        return Detections(boxes, submitted.frame, stages, inferred.batch_size)

    def infer(
        self, fills: Sequence[Callable[[Slot], None]], source: bytes | memoryview, visit: Visit
    ) -> list[Inference]:
        """Infers frames that need no decoding; they share batches with everybody else's.

        Args:
            fills: each writes one frame into its slot, uint8 [h, w, 3] BGR, letterboxed.
            source: what the frames are made of; quarantined as a whole.
            visit: the request, in whose time the answers have to come.

        Returns:
            As many answers as there were frames, in their order.

        Raises:
            Overloaded: the instance has not that many places.
            ServiceError: the first frame's that failed.
        """
        with self._admit(len(fills), visit), self._quarantine.watch([source]) as case:
            case.check(0)
            submits = [partial(self._submit_frame, fill, visit, case.mark(0)) for fill in fills]
            outcomes = _run(submits, self._finish_frame)
            failed = next((outcome for outcome in outcomes if isinstance(outcome, ServiceError)), None)
            case.close(0, failed)
        if failed:
            raise failed
        return [outcome for outcome in outcomes if isinstance(outcome, Inference)]

    def _submit_frame(self, fill: Callable[[Slot], None], visit: Visit, mark: Mark) -> Ticket[float]:
        def timed(slot: Slot) -> float:
            started = self._clock()
            fill(slot)
            return (self._clock() - started) * 1000

        return self.batcher.submit(timed, visit.deadline, visit.gone, mark, visit.client)

    def _finish_frame(self, ticket: Ticket[float]) -> Inference:
        inferred = self.batcher.wait(ticket)
        stages = Stages(inferred.filled, inferred.queue_ms, inferred.infer_ms, post_ms=0.0)
        self.metrics.record(stages)
        return Inference(inferred.candidates, stages, inferred.batch_size)

    def _admit(self, pictures: int, visit: Visit) -> AbstractContextManager[None]:
        """The places a request needs beside those that it holds; one that needs none is in already."""
        more = pictures - visit.places
        return self.batcher.queue.admit(more, visit.client, visit.places) if more > 0 else nullcontext()


def _run(submits: Sequence[Callable[[], Entry]], finish: Callable[[Entry], Outcome]) -> list[Outcome | ServiceError]:
    """Takes one request's frames through the queue, in which they have places; one that fails does so alone.

    All are on their way before the first is waited for, so that they can share a batch; and all are waited for, so
    that none is left behind in the queue without a place.
    """
    entries = [_attempt(submit) for submit in submits]
    return [entry if isinstance(entry, ServiceError) else _attempt(partial(finish, entry)) for entry in entries]


def _attempt(step: Callable[[], Outcome]) -> Outcome | ServiceError:
    try:
        return step()
    except ServiceError as error:
        forget(error)
        return error


def end_process(fault: EngineFault) -> None:
    """Ends the process: the balancer then runs the requests in flight on another instance."""
    log_event("engine_fault", detail=str(fault), exit_code=EXIT_ENGINE_FAULT)
    time.sleep(LAST_ANSWERS_S)
    os._exit(EXIT_ENGINE_FAULT)
