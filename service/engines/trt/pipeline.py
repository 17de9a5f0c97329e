"""Batches on their way through a TensorRT engine: two at once, each in a slot of its own.

Each step has a stream: while one batch is computed, the next is copied in and the one before copied out. Events keep
the steps of one batch in order.
"""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from service.engines import Candidates, Frames
from service.engines.rows import to_candidates, to_planes
from service.engines.trt.compute import Compute
from service.engines.trt.cuda_context import cuda_errors
from service.engines.trt.file import EngineFile
from service.engines.trt.network import Network
from service.engines.trt.slot import Slot, make_streams
from service.errors import InferenceFailed

IN_FLIGHT = 2


class TrtPipeline:
    """Runs batches; needs the device's context to be current on the calling thread.

    Args:
        file: the engine.
        wanted: frames at once that would be liked.
        stack: gives everything back when it is closed.

    Attributes:
        max_batch: frames at once.
        note: for people, how batches are run.

    Raises:
        StartError: the engine is not what its manifest says, or TensorRT cannot load it.
        InferenceFailed: it cannot be run.
        EngineFault: CUDA failed.
    """

    def __init__(self, file: EngineFile, wanted: int, stack: ExitStack) -> None:
        self._manifest = file.manifest
        with cuda_errors("opening the engine"):
            streams = make_streams()
            self._network = Network(file, wanted, streams.compute.handle, stack)
            slots = [Slot(self._network, streams, stack) for _ in range(IN_FLIGHT)]
            self._compute = Compute(self._network, streams.compute, slots, stack)
        self._free = deque(slots)
        self.max_batch = self._network.largest
        self.note = self._compute.note

    def begin(self, frames: Frames) -> TrtPending:
        """See `PipelinedEngine.begin`."""
        slot = self._free.popleft()
        try:
            with cuda_errors("starting a batch"):
                self._put(frames, slot)
        except InferenceFailed as error:
            self._settle(error)
            self._free.append(slot)
            raise
        return TrtPending(self, slot, len(frames))

    def collect(self, slot: Slot, count: int) -> Candidates:
        """Waits for a slot's batch, and frees the slot."""
        try:
            with cuda_errors("waiting for a batch"):
                slot.finish()
            return to_candidates(self._manifest.layout, slot.rows[:count])
        except InferenceFailed as error:
            self._settle(error)
            raise
        finally:
            self._free.append(slot)

    def _put(self, frames: Frames, slot: Slot) -> None:
        count = len(frames)
        if self._manifest.layout == "serving":
            np.copyto(slot.frames[:count], frames)
        else:
            to_planes(frames, self._manifest.scale, slot.frames[:count])
        slot.copy_in(count)
        # A batch smaller than the engine takes is filled up with what was there; nobody reads those rows.
        self._compute.run(slot, max(count, self._network.input.profile.least))
        slot.copy_out(count)

    def _settle(self, error: InferenceFailed) -> None:
        """Makes sure that the device still works and that nothing of the refused batch is under way.

        Raises:
            EngineFault: TensorRT refused the batch because the device does not work any more.
        """
        import pycuda.driver as cuda

        with cuda_errors(str(error)):
            cuda.Context.synchronize()


@dataclass(frozen=True, slots=True)
class TrtPending:
    """A batch of `count` frames that is under way in its `slot`; see `Pending`."""

    pipeline: TrtPipeline
    slot: Slot
    count: int

    def result(self) -> Candidates:
        """See `Pending.result`."""
        return self.pipeline.collect(self.slot, self.count)
