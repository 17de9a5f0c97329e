"""The worker of a rehearsal's instances, in its copy of the code: the service's own, with an engine that takes cues.

The file `cues/INSTANCE` holds a cue. A picture that is magenta all over kills whoever infers it.
"""

import os
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from chaos.jumping_clock import install
from service.engines import Engine, EngineInfo
from service.errors import EngineFault, InferenceFailed, OutOfMemory
from service.server.worker import DetectorWorker

CUES = Path("cues").resolve()
CUE = CUES / os.environ["FRAMEFLEET_INSTANCE"]
POISON = (255, 0, 255)
FOREVER_S = 1000


def cue() -> list[str]:
    """The words of this instance's cue; empty without one."""
    try:
        return CUE.read_text().split()
    except OSError:  # none, or no descriptor left to read it with
        return []


class CuedEngine:
    """The real engine, until a cue says otherwise: `refuse` and `die` for as long as they last, the others once.

    Args:
        engine: what infers.
        ceiling_mb: memory an instance may hold.
    """

    def __init__(self, engine: Engine, ceiling_mb: int) -> None:
        self._engine, self._ceiling_mb = engine, ceiling_mb
        self._kept = b""

    @property
    def info(self) -> EngineInfo:
        """The real engine's."""
        return self._engine.info

    def infer(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `Engine.infer`."""
        middle = frames.shape[1] // 2
        if (frames[:, middle, ::16] == POISON).all(axis=(1, 2)).any():
            os.kill(os.getpid(), signal.SIGSEGV)
        match cue():
            case ["hang"]:
                CUE.unlink()
                time.sleep(FOREVER_S)
            case ["oom"]:
                CUE.unlink()
                raise OutOfMemory("out of memory, on cue")
            case ["sticky"]:
                CUE.unlink()
                raise EngineFault("an illegal memory access was encountered, on cue")
            case ["keep"]:
                CUE.unlink()
                self._kept = b"x" * (self._ceiling_mb * 2**20)
            case ["refuse"]:
                raise InferenceFailed("the device is gone, on cue")
        return self._engine.infer(frames)

    def __enter__(self) -> "CuedEngine":
        match cue():
            case ["die"]:
                os._exit(9)
            case ["slow", seconds]:
                CUE.unlink()
                time.sleep(float(seconds))
        self._engine.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.__exit__(kind, error, trace)


class CuedWorker(DetectorWorker):
    """The service's own worker, whose engine takes cues and whose clock jumps, as its master's does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        install(CUES / "clock")
        super().__init__(*args, **kwargs)

    def open_engine(self) -> Engine:
        """The real engine, until a cue says otherwise."""
        return CuedEngine(super().open_engine(), self.settings.max_memory_mb)
