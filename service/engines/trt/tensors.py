"""What an engine takes and gives, by name, as TensorRT describes it, compared with what its manifest says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from framefleet.wire.manifest import Manifest
from service.engines.rows import FrameShape, fits, frame_shape
from service.errors import StartError

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


def choose_profile(profiles: Sequence[Profile], wanted: int) -> Profile:
    """The tightest profile that takes `wanted` frames, else the one that takes most.

    One that also takes small batches is preferred: others have to fill those up.
    """
    enough = [profile for profile in profiles if profile.most >= wanted]
    if enough:
        return min(enough, key=lambda profile: (profile.least, profile.most))
    return max(profiles, key=lambda profile: profile.most)


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
