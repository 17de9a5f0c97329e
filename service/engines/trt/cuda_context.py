"""The GPU's primary context on the thread that owns the engine, and what pycuda's errors mean for the service.

The primary context is the one that TensorRT and torch use by themselves, so that handles and memory go together. Each
thread has its own stack of contexts: whoever pushed has to pop, on the same thread.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.errors import EngineFault, OutOfMemory, StartError


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU: its `name`, and its compute capability, `compute`, such as `9.0`."""

    name: str
    compute: str


@contextmanager
def primary_context() -> Iterator[Gpu]:
    """Makes the first visible GPU's primary context current on this thread; its driver was probed before.

    An instance sees the one GPU it was given (CUDA_VISIBLE_DEVICES), so that is GPU 0.

    Raises:
        StartError: pycuda is not installed, or does not suit the driver.
        EngineFault: the GPU gives no context.
    """
    try:
        import pycuda.driver as cuda
    except ImportError as error:
        raise StartError(f"GPU: pycuda cannot be imported ({error}); install the `gpu` extra") from error
    with cuda_errors("the primary context"):
        cuda.init()
        device = cuda.Device(0)
        context = device.retain_primary_context()
        context.push()
    try:
        yield Gpu(device.name(), "{}.{}".format(*device.compute_capability()))
    finally:
        context.pop()
        context.detach()


@contextmanager
def cuda_errors(what: str) -> Iterator[None]:
    """Raises the service's errors for pycuda's.

    Only running out of memory leaves the context usable. After any other error CUDA answers every later call with that
    error again, until the process ends.

    Args:
        what: was being done; begins the message.

    Raises:
        OutOfMemory: the GPU, or the host for pinned memory, had not enough.
        EngineFault: any other CUDA error.
    """
    import pycuda.driver as cuda

    try:
        yield
    except cuda.MemoryError as error:
        raise OutOfMemory(f"{what}: {error}") from error
    except cuda.Error as error:
        raise EngineFault(f"{what}: {error}") from error
