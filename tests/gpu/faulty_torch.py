"""The torch engine with faults that a picture's colour asks for: the device's own on CUDA, a stand-in on the CPU."""

from service.engines import Candidates, Frames
from service.engines.torch.engine import TorchEngine

GOOD, DEVICE_ASSERT, ILLEGAL_ADDRESS = 7, 201, 202
KERNEL = 'extern "C" __global__ void poke(int* p) { p[1ll << 44] = 1; }'


class FaultyTorchEngine(TorchEngine):
    """Breaks its device once a frame's middle pixel is one of the codes above."""

    _lost = False

    def _infer(self, frames: Frames) -> Candidates:
        marks = frames[:, frames.shape[1] // 2, frames.shape[2] // 2, 0]
        for mark in {DEVICE_ASSERT, ILLEGAL_ADDRESS} & set(marks.tolist()):
            self._break(mark)
        return super()._infer(frames)

    def _break(self, mark: int) -> None:
        torch = self._torch
        if not self._on_cuda:
            self._lost = True
            raise RuntimeError("CUDA error: a stand-in for an illegal memory access")
        if mark == ILLEGAL_ADDRESS:
            kernel = torch.cuda._compile_kernel(KERNEL, "poke")  # torch has no public way to a bad address
            kernel((1, 1, 1), (1, 1, 1), [torch.zeros(1, dtype=torch.int32, device=self._device)])
        else:
            torch.zeros(1, device=self._device)[torch.tensor([10**6], device=self._device)]

    def _device_works(self) -> bool:
        return not self._lost and super()._device_works()
