"""The middle step of a batch: its kernels, launched as one recorded graph where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from service.engines.trt.cuda_graphs import CannotRecord, CudaGraph, graphs_available
from service.engines.trt.network import Network
from service.engines.trt.slot import Slot, device_memory
from service.errors import InferenceFailed

if TYPE_CHECKING:
    import tensorrt
    from pycuda.driver import Stream

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
