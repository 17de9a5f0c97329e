"""A deserialised TensorRT engine and the contexts that run it; memory and streams are the caller's.

`read_input`, `read_outputs`: what an engine takes and gives, by name, as TensorRT describes it, compared with
what its manifest says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from framefleet.wire.manifest import Manifest
from service.engines.rows import FrameShape, fits, frame_shape
from service.engines.trt.file import EngineFile
from service.engines.trt.log import ErrorLog
from service.errors import InferenceFailed, OutOfMemory, StartError

if TYPE_CHECKING:
    import tensorrt

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """An optimisation profile: its `index`, and the `least` and `most` frames of a batch it takes."""

    index: int
    least: int
    most: int

    def at_most(self, wanted: int) -> int:
        """The largest batch not above `wanted` that it takes, or its smallest."""
        return max(self.least, min(wanted, self.most))


@dataclass(frozen=True, slots=True)
class Input:
    """The engine's input: its `name`, `element` type, the shape of its `frames`, and the batch `profile` in use."""

    name: str
    element: npt.DTypeLike
    frames: FrameShape
    profile: Profile


@dataclass(frozen=True, slots=True)
class Output:
    """One of the engine's outputs: its `name`, `element` type, and `shape` for the largest batch."""

    name: str
    element: npt.DTypeLike
    shape: Shape


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


def choose_profile(profiles: Sequence[Profile], wanted: int) -> Profile:
    """The tightest profile that takes `wanted` frames, else the one that takes most.

    One that also takes small batches is preferred: others have to fill those up.
    """
    enough = [profile for profile in profiles if profile.most >= wanted]
    if enough:
        return min(enough, key=lambda profile: (profile.least, profile.most))
    return max(profiles, key=lambda profile: profile.most)


def plain(dims: tensorrt.Dims) -> Shape:
    """TensorRT's dimensions as a tuple."""
    return tuple(dims[axis] for axis in range(len(dims)))


def read_input(engine: tensorrt.ICudaEngine, manifest: Manifest, wanted: int) -> Input:
    """Describes the input.

    Args:
        engine: has one.
        manifest: says what that should be.
        wanted: frames at once that would be liked.

    Raises:
        StartError: it is something else.
    """
    import tensorrt as trt

    names = _names(engine, trt.TensorIOMode.INPUT)
    if len(names) != 1:
        raise StartError(f"it has {len(names)} inputs ({', '.join(names)}), not one; export the detector alone")
    shape = plain(engine.get_tensor_shape(names[0]))
    profile = choose_profile(_profiles(engine, names[0], shape), wanted)
    if min(shape, default=0) < 1:  # what is not fixed is as large as the profile allows
        shape = plain(engine.get_tensor_profile_shape(names[0], profile.index)[2])
    frames = frame_shape(manifest.layout, shape)
    if frames is None or (frames.height, frames.width) != manifest.input:
        height, width = manifest.input
        raise StartError(
            f"input {names[0]!r} has shape {shape}, its manifest says {manifest.layout} frames of {height}x{width} "
            "(height x width); run `make model` for this file again"
        )
    return Input(names[0], _element(engine, names[0]), frames, profile)


def read_outputs(
    engine: tensorrt.ICudaEngine, manifest: Manifest, shape_of: Callable[[str], tensorrt.Dims]
) -> list[Output]:
    """Describes the outputs: the one with the detections first, then those nobody reads.

    Args:
        engine: whose.
        manifest: says what the detections look like.
        shape_of: an output's shape for the largest batch.

    Raises:
        StartError: none is what the manifest says, or more than one could be.
    """
    import tensorrt as trt

    shapes = {name: plain(shape_of(name)) for name in _names(engine, trt.TensorIOMode.OUTPUT)}
    for name, shape in shapes.items():
        if min(shape, default=0) < 1:
            raise StartError(f"output {name!r} has no fixed size {shape}; export the network without NMS")
    fitting = [name for name, shape in shapes.items() if fits(manifest.layout, shape, len(manifest.names))]
    if len(fitting) != 1:
        raise StartError(
            f"its outputs ({_listed(shapes)}) are not {manifest.layout} with {len(manifest.names)} classes; "
            "run `make model` for this file again, with its class names"
        )
    return [
        Output(name, _element(engine, name), shapes[name]) for name in sorted(shapes, key=lambda n: n != fitting[0])
    ]


def _names(engine: tensorrt.ICudaEngine, mode: tensorrt.TensorIOMode) -> list[str]:
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    return [name for name in names if engine.get_tensor_mode(name) == mode]


def _profiles(engine: tensorrt.ICudaEngine, name: str, shape: Shape) -> list[Profile]:
    if shape and shape[0] > 0:
        return [Profile(0, shape[0], shape[0])]
    limits = [engine.get_tensor_profile_shape(name, index) for index in range(engine.num_optimization_profiles)]
    return [Profile(index, least[0], most[0]) for index, (least, _, most) in enumerate(limits)]


def _element(engine: tensorrt.ICudaEngine, name: str) -> npt.DTypeLike:
    import tensorrt as trt

    kinds: dict[tensorrt.DataType, npt.DTypeLike] = {
        trt.DataType.FLOAT: np.float32,
        trt.DataType.HALF: np.float16,
        trt.DataType.UINT8: np.uint8,
        trt.DataType.INT32: np.int32,
    }
    kind = engine.get_tensor_dtype(name)
    if kind not in kinds:
        raise StartError(f"tensor {name!r} has elements of type {kind}; export the network in FP32 or FP16")
    return kinds[kind]


def _listed(shapes: Mapping[str, Shape]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "none"
