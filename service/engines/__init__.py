"""Engines: one contract over every runtime that can infer a batch of letterboxed frames.

`Pending`: batches that are begun before their answer is there, so that an engine can work on two at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from service.cpus import usable_threads
from service.engines.trusted import owners_by
from service.errors import StartError
from service.settings import Settings

SIMULATED_PREFIX = "simulated:"
Frames = npt.NDArray[np.uint8]
"""[n, h, w, 3], BGR, letterboxed."""


Candidates = npt.NDArray[np.float32]
"""[n, k, 6]: x1, y1, x2, y2 in letterboxed pixels, score, class id; or [k, 6] of one frame."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine is.

    `kind` is the runtime, `model` the model's name, `input_size` (height, width) in pixels, `max_batch` frames at once,
    `classes` names by class id, `note` a word for people (empty where there is nothing to say), `in_flight` batches it
    takes at once (more than one only for a `PipelinedEngine`), `precision` fp32, fp16 or int8 (empty where unknown).
    """

    kind: str
    model: str
    device: str
    input_size: tuple[int, int]
    max_batch: int
    classes: tuple[str, ...]
    note: str = ""
    in_flight: int = 1
    precision: str = ""

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU does the work."""
        return self.kind == "tensorrt" or self.device.startswith(("cuda", "tensorrt"))


class Engine(Protocol):
    """Opened, warmed up, used and closed by one thread, with `with`."""

    @property
    def info(self) -> EngineInfo:
        """What this engine is."""
        ...

    def infer(self, frames: Frames) -> Candidates:
        """Finds candidates in a batch.

        Args:
            frames: uint8 [n, h, w, 3], BGR, letterboxed, n between 1 and `info.max_batch`.

        Returns:
            float32 [n, k, 6]: x1, y1, x2, y2 in letterboxed pixels, score, class id; the caller's own memory.

        Raises:
            InferenceFailed: this batch failed; the engine is still usable.
            EngineFault: nothing will work any more; the process has to end.
        """
        ...

    def __enter__(self) -> "Engine": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class DescribedOnceOpen:
    """What engines share that learn what they are when they are opened, and set `_info` then."""

    _info: EngineInfo | None = None

    @property
    def info(self) -> EngineInfo:
        """What this engine is; known once it is open."""
        if self._info is None:
            raise RuntimeError("the engine is not open")
        return self._info


def load_engine(settings: Settings) -> Engine:
    """Makes the engine that the model file's suffix asks for; not opened yet.

    Raises:
        StartError: the suffix is of no engine.
    """
    if settings.model.startswith(SIMULATED_PREFIX):
        from service.engines.simulated import SimulatedEngine

        return SimulatedEngine(settings.model.removeprefix(SIMULATED_PREFIX), settings.max_batch)
    if settings.model.endswith(".onnx"):
        from service.engines.ort.engine import OrtEngine

        return OrtEngine(
            settings.model,
            device=settings.device,
            cache=Path(settings.cache),
            threads=usable_threads(settings.threads),
            max_batch=settings.max_batch,
            owners=owners_by(settings.trust_any_path),
        )
    if settings.model.endswith(".torchscript"):
        from service.engines.torch.engine import TorchEngine

        return TorchEngine(
            settings.model,
            device=settings.device,
            precision=settings.precision,
            threads=usable_threads(settings.threads),
            max_batch=settings.max_batch,
            owners=owners_by(settings.trust_any_path),
        )
    if settings.model.endswith(".engine"):
        from service.engines.trt.engine import TrtEngine

        return TrtEngine(
            settings.model,
            plugin=settings.plugin,
            max_batch=settings.max_batch,
            device=settings.device,
            owners=owners_by(settings.trust_any_path),
        )
    raise StartError(
        f"FRAMEFLEET_MODEL: {settings.model!r} is no model file; use one that ends in .onnx, .engine or .torchscript"
    )


def warm_up(engine: Engine) -> None:
    """Runs the smallest and the largest batch once, so that the first request is not the slow one.

    Raises:
        StartError: the engine's answer is not what the contract promises.
    """
    height, width = engine.info.input_size
    for size in sorted({1, engine.info.max_batch}):
        candidates = engine.infer(np.zeros((size, height, width, 3), np.uint8))
        if candidates.ndim != 3 or candidates.shape[0] != size or candidates.shape[2] != 6:  # noqa: PLR2004
            raise StartError(f"{engine.info.model}: answered shape {candidates.shape} to {size} frames, not [n, k, 6]")
        if not np.isfinite(candidates).all():
            raise StartError(f"{engine.info.model}: answered values that are not finite; export the model again")


class Pending(Protocol):
    """A batch the engine has begun."""

    def result(self) -> Candidates:
        """Waits for the batch; called once, on the engine's thread, oldest batch first.

        Returns:
            What `Engine.infer` returns for these frames.

        Raises:
            InferenceFailed: see `Engine.infer`.
            EngineFault: likewise.
        """
        ...


@runtime_checkable
class PipelinedEngine(Engine, Protocol):
    """An engine that takes up to `info.in_flight` batches at once: one is copied while another is computed."""

    def begin(self, frames: Frames) -> Pending:
        """Starts a batch; the frames' memory is free again when this returns.

        Raises:
            InferenceFailed: this batch failed; those begun before it go on.
            EngineFault: nothing will work any more.
        """
        ...


@dataclass(frozen=True, slots=True)
class Later:
    """A batch of an engine that takes one at a time: it is inferred when its result is asked for."""

    engine: Engine
    frames: Frames

    def result(self) -> Candidates:
        """See `Pending.result`."""
        return self.engine.infer(self.frames)


def beginner(engine: Engine) -> Callable[[Frames], Pending]:
    """How batches are begun on this engine, whichever kind it is."""
    if isinstance(engine, PipelinedEngine):
        return engine.begin
    return lambda frames: Later(engine, frames)
