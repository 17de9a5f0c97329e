"""Engines whose pace and faults a test decides; real ones cannot be provoked to fail on cue."""

import threading
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

import numpy as np
import numpy.typing as npt

from service.engines import EngineInfo
from service.errors import InferenceFailed
from service.pipeline.batcher import golden_frame

SIZE = 32


class ScriptedEngine:
    """Answers one box that names the frame's first pixel; waits or fails as the test says.

    `gate`: inference waits while it is closed; `errors`: raised by the next inferences, one each, None for success;
    `dead`: refuses everything; `batches`: sizes inferred so far. Warm-up and self-test count for neither.
    """

    def __init__(self, max_batch: int = 4) -> None:
        self.info = EngineInfo("scripted", "scripted", "none", (SIZE, SIZE), max_batch, ("thing", "other"))
        self.gate = threading.Event()
        self.gate.set()
        self.busy = threading.Event()
        self.errors: list[Exception | None] = []
        self.batches: list[int] = []
        self.threads: set[str] = set()
        self.closed = False
        self.garbled = self.dead = False
        self._golden = golden_frame(self.info.input_size)
        self._warm_ups = len({1, max_batch}) + 1  # and the self-test's expected answer

    def infer(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.threads.add(threading.current_thread().name)
        if self._warm_ups:
            self._warm_ups -= 1
            return self._answer(frames)
        if self.dead:
            raise InferenceFailed("the device is gone")
        if np.array_equal(frames, self._golden):
            return self._answer(frames)
        self.busy.set()
        assert self.gate.wait(30), "the test never opened the gate"
        self.batches.append(len(frames))
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        return self._answer(frames)

    def _answer(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        marks = frames[:, SIZE // 2, SIZE // 2].astype(np.float32)
        score = 0.1 if self.garbled else 0.9
        rows = [[0, 0, mark[0], mark[1], score, mark[2] % 2] for mark in marks]
        return np.array(rows, np.float32)[:, None, :]

    def __enter__(self) -> "ScriptedEngine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.threads.add(threading.current_thread().name)
        self.closed = True


class ScriptedPending:
    """A batch of a `PipelinedScriptedEngine`: copied when it was begun, computed when its result is asked for."""

    def __init__(self, compute: Callable[[], npt.NDArray[np.float32]]) -> None:
        self.result = compute


class PipelinedScriptedEngine(ScriptedEngine):
    """Takes `in_flight` batches at once; `log` has "begin n" and "end n" with the batches' sizes, warm-up left out.

    `refusals`: raised by the next `begin`s, one each, None for success; `errors` are raised by the results.
    """

    def __init__(self, max_batch: int = 4, in_flight: int = 2) -> None:
        super().__init__(max_batch)
        self.info = replace(self.info, in_flight=in_flight)
        self.refusals: list[Exception | None] = []
        self.log: list[str] = []
        self._flying: list[int] = []

    def begin(self, frames: npt.NDArray[np.uint8]) -> ScriptedPending:
        assert len(self._flying) < self.info.in_flight, "more batches than the engine takes"
        self.threads.add(threading.current_thread().name)
        self.log.append(f"begin {len(frames)}")
        if self.refusals and (error := self.refusals.pop(0)) is not None:
            raise error
        copied, number = frames.copy(), len(self.log)
        self._flying.append(number)
        return ScriptedPending(lambda: self._end(number, copied))

    def _end(self, number: int, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        assert self._flying.pop(0) == number, "the oldest batch comes first"
        try:
            return self.infer(frames)
        finally:
            self.log.append(f"end {len(frames)}")
