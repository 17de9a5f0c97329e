"""Sorts torch's exceptions into the service's tree: what costs one batch, and what costs the process."""

from collections.abc import Callable

from framefleet.wire.errors import first_line
from service.errors import EngineFault, InferenceFailed, OutOfMemory

# A library that could not get memory reports it in words of its own; torch's allocator uses an exception class.
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")


def classify(error: Exception, device_works: Callable[[], bool]) -> InferenceFailed | EngineFault:
    """Makes the service's error out of torch's.

    After any CUDA error but a lack of memory the process's context is lost, and every later call fails with the same
    error. Messages do not say so reliably, the device does: it is asked to finish its work.

    Args:
        error: what an inference raised.
        device_works: whether the device still finishes its work.
    """
    reason = first_line(error)
    if not device_works():
        return EngineFault(f"torch: {reason}; the device is lost")
    if any(words in str(error) for words in _MEMORY_WORDS):
        return OutOfMemory(f"torch: {reason}")
    return InferenceFailed(f"torch: {reason}")
