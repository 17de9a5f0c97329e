"""One batch's way over the device: pinned host memory, device memory, and the events that keep its steps in order."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from service.engines.trt.network import Network

if TYPE_CHECKING:
    from pycuda.driver import DeviceAllocation, Stream

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: work on the default stream, a neighbour library's, holds nothing up


@dataclass(frozen=True, slots=True)
class Streams:
    """A stream per step, so that one batch is copied in while another is computed and a third one copied out."""

    copy_in: Stream
    compute: Stream
    copy_out: Stream


def make_streams() -> Streams:
    """Makes the streams; needs a current context."""
    import pycuda.driver as cuda

    return Streams(cuda.Stream(NON_BLOCKING), cuda.Stream(NON_BLOCKING), cuda.Stream(NON_BLOCKING))


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
