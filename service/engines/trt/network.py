"""A deserialised TensorRT engine and the contexts that run it; memory and streams are the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from service.engines.trt.file import EngineFile
from service.engines.trt.log import ErrorLog
from service.engines.trt.tensors import read_input, read_outputs
from service.errors import InferenceFailed, OutOfMemory, StartError

if TYPE_CHECKING:
    import tensorrt

Addresses = Mapping[str, int]
"""Where each tensor is, in device memory."""


class Network:
    """Runs batches on one stream, one after the other.

    Args:
        file: the engine.
        wanted: frames at once that would be liked.
        stream: handle of the stream.
        stack: gives the engine back when it is closed.

    Attributes:
        input: takes the frames.
        largest: frames of the largest batch in use.
        output: gives the detections.
        others: outputs nobody reads; they need memory all the same.
        activations: bytes that a running context works in.

    Raises:
        StartError: TensorRT cannot load the engine, or it is not what its manifest says.
        InferenceFailed: TensorRT can load it and not run it.
    """

    def __init__(self, file: EngineFile, wanted: int, stream: int, stack: ExitStack) -> None:
        import tensorrt as trt

        self._stream = stream
        self._log = ErrorLog(trt)
        trt.init_libnvinfer_plugins(self._log.logger, "")
        self._runtime = trt.Runtime(self._log.logger)
        engine = self._runtime.deserialize_cuda_engine(file.plan)
        if engine is None:
            raise StartError(
                f"FRAMEFLEET_MODEL: TensorRT {trt.__version__} cannot load {file.path} ({self._log.reason()}); run "
                "`make engine` on this machine; an engine from elsewhere has to be built with this version, here"
            )
        self._engine = engine
        stack.callback(self._release)
        self.activations = engine.device_memory_size_v2
        try:
            self.input = read_input(engine, file.manifest, wanted)
            self.largest = self.input.profile.at_most(wanted)
            context = self._new_context()
            self._resize(context, self.largest)
            self.output, *self.others = read_outputs(engine, file.manifest, context.get_tensor_shape)
        except StartError as error:
            raise StartError(f"FRAMEFLEET_MODEL: {file.path}: {error}") from None

    def context(self, size: int, addresses: Addresses, memory: int) -> tensorrt.IExecutionContext:
        """Makes a context for batches of one size in one place.

        Args:
            size: frames.
            addresses: of every tensor.
            memory: address of `activations` bytes; all contexts share it, since they run one after the other.

        Raises:
            InferenceFailed: TensorRT refused.
        """
        context = self._new_context()
        context.set_device_memory(memory, self.activations)
        self.aim(context, size, addresses)
        return context

    def aim(self, context: tensorrt.IExecutionContext, size: int, addresses: Addresses) -> None:
        """Changes a context's batch size and place.

        Raises:
            InferenceFailed: TensorRT refused.
        """
        self._resize(context, size)
        for name, address in addresses.items():
            if not context.set_tensor_address(name, address):
                raise self._failure(f"placing tensor {name!r}")

    def run(self, context: tensorrt.IExecutionContext) -> None:
        """Puts a context's batch on the stream.

        Raises:
            InferenceFailed: TensorRT refused.
        """
        if not context.execute_async_v3(self._stream):
            raise self._failure("running a batch")

    def _release(self) -> None:
        del self._engine
        del self._runtime  # only now: what it made may still ask it for something

    def _new_context(self) -> tensorrt.IExecutionContext:
        import tensorrt as trt

        context = self._engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise self._failure("making a context")
        index = self.input.profile.index
        if index and not context.set_optimization_profile_async(index, self._stream):
            raise self._failure(f"choosing profile {index}")
        return context

    def _resize(self, context: tensorrt.IExecutionContext, size: int) -> None:
        if not context.set_input_shape(self.input.name, self.input.frames.of(size)):
            raise self._failure(f"setting a batch of {size}")

    def _failure(self, what: str) -> InferenceFailed:
        reason = self._log.reason()
        kind = OutOfMemory if "out of memory" in reason.lower() else InferenceFailed
        return kind(f"TensorRT, {what}: {reason}")
