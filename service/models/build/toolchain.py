"""What a build needs of the machine: TensorRT, the GPU it builds for, and a way to run what it made."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framefleet.wire.errors import ModelError
from service.engines import Engine, load_engine
from service.engines.trt.cuda_context import Gpu, primary_context
from service.engines.trt.cuda_driver import probe_driver
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A TensorRT and the GPU it builds for.

    Attributes:
        trt: the `tensorrt` module, or one with its interface.
        gpu: the GPU it builds for.
        open_engine: makes the engine of a file, not opened yet.
    """

    trt: Any
    gpu: Gpu
    open_engine: Callable[[Path], Engine]


def local_toolchain() -> Toolchain:
    """TensorRT on this machine's first GPU.

    Raises:
        StartError: there is no NVIDIA driver, no GPU, or no pycuda.
        ModelError: TensorRT is not installed.
    """
    probe_driver()  # TensorRT itself may crash without one
    try:
        import tensorrt
    except ImportError as error:
        raise ModelError(f"TensorRT cannot be imported ({error}); install this project's `gpu` extra") from error
    with primary_context() as gpu:
        return Toolchain(tensorrt, gpu, lambda path: load_engine(Settings(model=str(path), trust_any_path=1)))
