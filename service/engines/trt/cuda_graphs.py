"""CUDA graphs: work that is recorded once and launched as a whole, which spares the launch of every single kernel.

pycuda cannot record; `cuda-bindings` can, and works on pycuda's handles because both speak the driver's interface.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from service.errors import EngineFault, OutOfMemory

if TYPE_CHECKING:
    from cuda.bindings.driver import CUresult


class CannotRecord(Exception):
    """This work is not to be had as a graph; it can still be done directly."""


def graphs_available() -> bool:
    """Whether `cuda-bindings` is installed."""
    try:
        import cuda.bindings.driver  # noqa: F401
    except ImportError:
        return False
    return True


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
