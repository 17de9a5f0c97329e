"""`cuda.bindings.driver` as far as this project uses it, on a made-up GPU: only the names in `typings/cuda`."""

from __future__ import annotations

import enum
from types import ModuleType
from typing import Any

from tests.service.engines.fake_device import DeviceError, FakeDevice, Work


class CUresult(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_ILLEGAL_ADDRESS = 700
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900


class CUstreamCaptureMode(enum.IntEnum):
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1


class CUstream:
    def __init__(self, init_value: int) -> None:
        self.handle = init_value


class CUgraph:
    def __init__(self, work: list[Work]) -> None:
        self.work = work


class CUgraphExec:
    def __init__(self, work: list[Work]) -> None:
        self.work = work


class CudaFaults:
    """What the next calls answer; `live` counts graphs not destroyed."""

    def __init__(self) -> None:
        self.capture = CUresult.CUDA_SUCCESS
        self.launch = CUresult.CUDA_SUCCESS
        self.live = 0


def make_cuda(device: FakeDevice, faults: CudaFaults) -> ModuleType:  # noqa: C901  # one closure over the device
    """Makes the module `cuda.bindings.driver` of this GPU."""

    def cuStreamBeginCapture(hStream: CUstream, mode: CUstreamCaptureMode) -> tuple[CUresult]:
        device.stream_of(hStream.handle).recorded = []
        return (CUresult.CUDA_SUCCESS,)

    def cuStreamEndCapture(hStream: CUstream) -> tuple[CUresult, CUgraph | None]:
        stream = device.stream_of(hStream.handle)
        work, stream.recorded = stream.recorded, None
        assert work is not None, "not recording"
        if faults.capture != CUresult.CUDA_SUCCESS:
            return faults.capture, None
        faults.live += 1
        return CUresult.CUDA_SUCCESS, CUgraph(work)

    def cuGraphInstantiate(hGraph: CUgraph, flags: int) -> tuple[CUresult, CUgraphExec]:
        assert hGraph.work, "an empty graph"
        faults.live += 1
        return CUresult.CUDA_SUCCESS, CUgraphExec(hGraph.work)

    def cuGraphLaunch(hGraphExec: CUgraphExec, hStream: CUstream) -> tuple[CUresult]:
        if faults.launch != CUresult.CUDA_SUCCESS:
            return (faults.launch,)
        device.log.append("launch graph")
        try:
            for work in hGraphExec.work:
                device.stream_of(hStream.handle).put(work)
        except DeviceError:
            return (CUresult.CUDA_ERROR_ILLEGAL_ADDRESS,)
        return (CUresult.CUDA_SUCCESS,)

    def cuGraphDestroy(hGraph: CUgraph | None) -> tuple[CUresult]:
        faults.live -= hGraph is not None
        return (CUresult.CUDA_SUCCESS,)

    def cuGraphExecDestroy(hGraphExec: CUgraphExec) -> tuple[CUresult]:
        device.log.append("destroy graph")
        faults.live -= 1
        return (CUresult.CUDA_SUCCESS,)

    module: Any = ModuleType("cuda.bindings.driver")
    for name, value in {**locals(), **_CLASSES}.items():
        if name not in ("device", "faults", "module"):
            setattr(module, name, value)
    found: ModuleType = module
    return found


_CLASSES = {kind.__name__: kind for kind in (CUresult, CUstreamCaptureMode, CUstream, CUgraph, CUgraphExec)}
