"""Batches on their way through a TensorRT engine: two at once, each in a slot of its own.

Each step has a stream: while one batch is computed, the next is copied in and the one before copied out. Events keep
the steps of one batch in order.

`Compute`: the middle step of a batch: its kernels, launched as one recorded graph where there is one.

`CudaGraph`: work that is recorded once and launched as a whole, which spares the launch of every
single kernel.

pycuda cannot record; `cuda-bindings` can, and works on pycuda's handles because both speak the driver's interface.

`Slot`: one batch's way over the device: pinned host memory, device memory, and the events that keep its steps in
order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from service.engines import Candidates, Frames
from service.engines.rows import to_candidates, to_planes
from service.engines.trt.cuda_context import cuda_errors
from service.engines.trt.file import EngineFile
from service.engines.trt.network import Network
from service.errors import EngineFault, InferenceFailed, OutOfMemory

if TYPE_CHECKING:
    import tensorrt
    from cuda.bindings.driver import CUresult
    from pycuda.driver import DeviceAllocation, Stream

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: work on the default stream, a neighbour library's, holds nothing up
IN_FLIGHT = 2


@dataclass(frozen=True, slots=True)
class Streams:
    """A stream per step, so that one batch is copied in while another is computed and a third one copied out."""

    copy_in: Stream
    compute: Stream
    copy_out: Stream


class Slot:
    """Memory for the largest batch, and its three steps. Nothing waits but `finish`.

    Args:
        network: what the memory is for.
        streams: where the steps are put.
        stack: gives the memory back when it is closed.

    Attributes:
        frames: pinned, [largest, ...] as the network takes it; written before `copy_in`.
        rows: pinned, [largest, ...] as the network gives it; read after `finish`.
        addresses: of every tensor of the network.
    """

    def __init__(self, network: Network, streams: Streams, stack: ExitStack) -> None:
        import pycuda.driver as cuda

        self._streams = streams
        self.frames = _pinned(network.input.frames.of(network.largest), network.input.element, stack)
        self.rows = _pinned(network.output.shape, network.output.element, stack)
        self._device_frames = device_memory(self.frames.nbytes, stack)
        self._device_rows = device_memory(self.rows.nbytes, stack)
        self.addresses = {
            network.input.name: int(self._device_frames),
            network.output.name: int(self._device_rows),
        }
        for other in network.others:
            size = int(np.prod(other.shape)) * np.dtype(other.element).itemsize
            self.addresses[other.name] = int(device_memory(size, stack))
        untimed = cuda.event_flags.DISABLE_TIMING
        self._copied_in, self._computed = cuda.Event(untimed), cuda.Event(untimed)
        # The waiting thread sleeps: one that spins would take a core from decoding.
        self._finished = cuda.Event(untimed | cuda.event_flags.BLOCKING_SYNC)

    def copy_in(self, count: int) -> None:
        """Sends frames to the device; what is computed from now on sees them."""
        import pycuda.driver as cuda

        cuda.memcpy_htod_async(self._device_frames, self.frames[:count], self._streams.copy_in)
        self._copied_in.record(self._streams.copy_in)
        self._streams.compute.wait_for_event(self._copied_in)

    def copy_out(self, count: int) -> None:
        """Fetches the rows of what was computed up to now."""
        import pycuda.driver as cuda

        self._computed.record(self._streams.compute)
        self._streams.copy_out.wait_for_event(self._computed)
        cuda.memcpy_dtoh_async(self.rows[:count], self._device_rows, self._streams.copy_out)
        self._finished.record(self._streams.copy_out)

    def finish(self) -> None:
        """Waits until the rows are there; the slot is free again then."""
        self._finished.synchronize()


class CannotRecord(Exception):
    """This work is not to be had as a graph; it can still be done directly."""


class CudaGraph:
    """Recorded work; launch and release it on the thread whose context it was recorded in.

    Args:
        enqueue: puts the work onto the stream.
        stream: handle of the stream, not the default one.

    Raises:
        CannotRecord: CUDA refused; what `enqueue` raises goes through.
    """

    def __init__(self, enqueue: Callable[[], None], stream: int) -> None:
        from cuda.bindings import driver

        self._driver = driver
        self._stream = driver.CUstream(stream)
        # What other threads do on the device (NVML, a neighbour library) must not spoil the recording.
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._recorded(*driver.cuStreamBeginCapture(self._stream, mode))
        try:
            enqueue()
        except Exception:
            driver.cuGraphDestroy(driver.cuStreamEndCapture(self._stream)[1])
            raise  # the stream works again; one left recording would do nothing any more
        status, graph = driver.cuStreamEndCapture(self._stream)
        self._recorded(status)
        status, self._executable = driver.cuGraphInstantiate(graph, 0)
        driver.cuGraphDestroy(graph)
        self._recorded(status)

    def launch(self) -> None:
        """Does the work once more, with the same addresses and sizes.

        Raises:
            OutOfMemory: the GPU has no memory for it.
            EngineFault: any other CUDA error.
        """
        (status,) = self._driver.cuGraphLaunch(self._executable, self._stream)
        if status == self._driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            raise OutOfMemory("launching a CUDA graph: out of memory")
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise EngineFault(f"launching a CUDA graph: {status.name}")

    def release(self) -> None:
        """Gives the recorded work's memory back."""
        self._driver.cuGraphExecDestroy(self._executable)

    def _recorded(self, status: CUresult) -> None:
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise CannotRecord(status.name)


RECORDED_BATCHES = 8
"""Batches up to this size are recorded: in larger ones launching the kernels is little of the whole."""


class Compute:
    """Runs batches on one stream.

    A graph is good for the batch size and the addresses it was recorded with, and its context must not be touched
    again: so every size of every slot has a context and a graph of its own. They share the memory they work in, which
    one stream makes safe.

    Args:
        network: what to run.
        stream: where.
        slots: all that batches will be run in.
        stack: gives everything back when it is closed.

    Attributes:
        note: for people, whether there are graphs and else why not.

    Raises:
        InferenceFailed: TensorRT cannot run the network.
    """

    def __init__(self, network: Network, stream: Stream, slots: Sequence[Slot], stack: ExitStack) -> None:
        self._network = network
        self._stream = stream
        self._memory = int(device_memory(network.activations, stack))
        self._contexts: list[tensorrt.IExecutionContext] = []  # the first one runs what is not recorded
        self._graphs: dict[tuple[Slot, int], CudaGraph] = {}
        stack.callback(self._contexts.clear)  # while the memory they point to and their engine are still there
        stack.callback(self._drop_graphs)
        self._new_context(slots[0], network.largest)
        self.note = self._record(slots)

    def run(self, slot: Slot, size: int) -> None:
        """Puts a batch on the stream.

        Raises:
            InferenceFailed: TensorRT, or the device's memory, refused it.
            EngineFault: CUDA did.
        """
        graph = self._graphs.get((slot, size))
        if graph is not None:
            graph.launch()
            return
        direct = self._contexts[0]
        self._network.aim(direct, size, slot.addresses)
        self._network.run(direct)

    def _record(self, slots: Sequence[Slot]) -> str:
        if not graphs_available():
            return "no CUDA graphs: cuda-bindings is not installed"
        last = min(self._network.largest, RECORDED_BATCHES)
        try:
            for slot in slots:
                for size in range(self._network.input.profile.least, last + 1):
                    self._graphs[slot, size] = self._graph(slot, size)
        except (CannotRecord, InferenceFailed, RuntimeError) as error:  # the last from bindings newer than the driver
            self._drop_graphs()
            return f"no CUDA graphs: {error}"
        return f"CUDA graphs up to batch {last}" if self._graphs else f"no CUDA graphs above batch {last}"

    def _graph(self, slot: Slot, size: int) -> CudaGraph:
        context = self._new_context(slot, size)
        # TensorRT does what a new size asks for with the first batch, and none of that belongs into the graph.
        self._network.run(context)
        self._stream.synchronize()
        return CudaGraph(lambda: self._network.run(context), self._stream.handle)

    def _new_context(self, slot: Slot, size: int) -> tensorrt.IExecutionContext:
        context = self._network.context(size, slot.addresses, self._memory)
        self._contexts.append(context)
        return context

    def _drop_graphs(self) -> None:
        while self._graphs:
            self._graphs.popitem()[1].release()
        del self._contexts[1:]


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


def graphs_available() -> bool:
    """Whether `cuda-bindings` is installed."""
    try:
        import cuda.bindings.driver  # noqa: F401
    except ImportError:
        return False
    return True


def make_streams() -> Streams:
    """Makes the streams; needs a current context."""
    import pycuda.driver as cuda

    return Streams(cuda.Stream(NON_BLOCKING), cuda.Stream(NON_BLOCKING), cuda.Stream(NON_BLOCKING))


def device_memory(size: int, stack: ExitStack) -> DeviceAllocation:
    """Takes memory on the device.

    Args:
        size: bytes; 0 gives a place all the same.
        stack: gives it back when it is closed.
    """
    import pycuda.driver as cuda

    allocation = cuda.mem_alloc(max(size, 1))
    stack.callback(allocation.free)
    return allocation


def _pinned(shape: tuple[int, ...], element: npt.DTypeLike, stack: ExitStack) -> npt.NDArray[Any]:
    """Takes host memory that stays in place, so that the device copies by itself while the processor goes on."""
    import pycuda.driver as cuda

    array = cuda.pagelocked_empty(shape, element)
    stack.callback(_free, array)
    return array


def _free(array: npt.NDArray[Any]) -> None:
    allocation: Any = array.base
    allocation.free()
