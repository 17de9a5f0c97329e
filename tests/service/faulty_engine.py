"""An engine that fails on cue, in a real process: the colour of a picture says how."""

import ctypes
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from service.engines import EngineInfo, Later, Pending
from service.errors import EngineFault, OutOfMemory

SIZE = 32
HANG, HANG_WITH_GIL, FAULT, OUT_OF_MEMORY, GARBLE, CRASH, BUG, LEAK, HOLD, STALL = range(200, 210)
FOREVER_S = 1000
LEAKED_BYTES = 400 * 2**20
HELD, LET_GO, HANGING, TWO_BEGUN = "held", "let go", "hanging", "two begun"


class FaultyEngine:
    """Answers one box, until a frame's first channel is one of the codes above.

    Args:
        folder: gets the file `held` when a frame is held, until the test writes `let go` there; `hanging` when it
            hangs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.info = EngineInfo("faulty", "faulty", "none", (SIZE, SIZE), 4, ("thing",))
        self._score = 0.9
        self._leaked: list[bytes] = []
        self._stalls = False

    def infer(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        marks = frames[:, SIZE // 2, SIZE // 2, 0].tolist()
        self._fail(marks)
        return np.array([[[0, 0, mark, 8, self._score, 0]] for mark in marks], np.float32)

    def _fail(self, marks: list[int]) -> None:
        self._hang(marks)
        if FAULT in marks:
            raise EngineFault("an illegal memory access was encountered")
        if OUT_OF_MEMORY in marks:
            raise OutOfMemory("out of memory")
        if CRASH in marks:
            ctypes.string_at(0)
        if BUG in marks:
            raise ZeroDivisionError("a bug of ours")
        if LEAK in marks:
            self._leaked.append(b"x" * LEAKED_BYTES)
        if HOLD in marks:
            self._hold()
        if STALL in marks:  # from the next frame on
            self._stalls = True
        if GARBLE in marks:
            self._score = 0.5

    def _hang(self, marks: list[int]) -> None:
        if HANG in marks or self._stalls:
            (self._folder / HANGING).touch()
            time.sleep(FOREVER_S)
        if HANG_WITH_GIL in marks:
            (self._folder / HANGING).touch()
            ctypes.PyDLL(None).sleep(FOREVER_S)

    def _hold(self) -> None:
        (self._folder / HELD).touch()
        while not (self._folder / LET_GO).exists():
            time.sleep(0.01)

    def __enter__(self) -> "FaultyEngine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""


class FaultyPipeline(FaultyEngine):
    """The same, taking two batches at once; `two begun` appears in the folder when it has two."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.info = replace(self.info, in_flight=2)
        self._begun = 0

    def begin(self, frames: npt.NDArray[np.uint8]) -> Pending:
        self._begun += 1
        if self._begun == self.info.in_flight:
            (self._folder / TWO_BEGUN).touch()
        return Later(self, frames.copy())

    def infer(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        try:
            return super().infer(frames)
        finally:
            self._begun = 0
