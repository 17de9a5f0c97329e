"""Batches that are begun before their answer is there, so that an engine can work on two at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from service.engines import Candidates, Engine, Frames


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
