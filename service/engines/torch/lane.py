"""The way of a batch to torch's device and back, through memory that is allocated once."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch


class Lane:
    """Page-locked buffers on the host, so that CUDA copies without stopping over; plain ones where there is no CUDA.

    Args:
        device: where the network is.
        max_batch: frames at once at most.
        input_size: height and width in px.
        top_k: most candidates per frame.
    """

    def __init__(self, device: "torch.device", max_batch: int, input_size: tuple[int, int], top_k: int) -> None:
        import torch

        locked = device.type == "cuda"
        self._device = device
        self._frames = torch.zeros((max_batch, *input_size, 3), dtype=torch.uint8, pin_memory=locked)
        self._candidates = torch.empty((max_batch, top_k, 6), dtype=torch.float32, pin_memory=locked)

    def upload(self, frames: npt.NDArray[np.uint8], size: int) -> "torch.Tensor":
        """Copies frames to the device.

        Args:
            frames: uint8 [n, h, w, 3].
            size: frames that the network has to be given, at least n; the last of them are earlier ones.

        Returns:
            uint8 [size, h, w, 3] on the device, valid until the next upload.
        """
        np.copyto(self._frames[: len(frames)].numpy(), frames)
        return self._frames[:size].to(self._device, non_blocking=True)

    def download(self, candidates: "torch.Tensor") -> npt.NDArray[np.float32]:
        """Waits for candidates, float32 [n, k, 6], and gives them in the caller's own memory."""
        host = self._candidates[: candidates.shape[0], : candidates.shape[1]]
        host.copy_(candidates, non_blocking=True)
        self.wait()
        return np.array(host.numpy())

    def wait(self) -> None:
        """Waits until the device has done all it was given."""
        import torch

        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
