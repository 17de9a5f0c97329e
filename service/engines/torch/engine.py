"""torch over a TorchScript export: for a GPU without TensorRT, or for a CPU.

frames uint8 [n, h, w, 3] --Lane--> device: RGB, float, scaled, NCHW --> network --> rows --> candidates --Lane--> host.
Names, layout, input size and scale come from the manifest, since the file itself does not tell them.

`classify`: sorts torch's exceptions into the service's tree: what costs one batch, and what costs the process.

`Lane`: the way of a batch to torch's device and back, through memory that is allocated once.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from framefleet.wire.errors import first_line
from service.engines import Candidates, DescribedOnceOpen, EngineInfo, Frames
from service.engines.rows import TOP_ROWS
from service.engines.torch.rows import rows_of, to_candidates
from service.engines.torch.start import checked_export, choose_device, import_torch, load_network
from service.errors import EngineFault, InferenceFailed, OutOfMemory, StartError

# On a CPU a batch costs as much as its frames, and the first of them would wait for the last.
PREFERRED_BATCH = {"cpu": 1, "cuda": 8}
# torch profiles the first run of a shape and compiles in the second.
WARM_UP_RUNS = 2
# A library that could not get memory reports it in words of its own; torch's allocator uses an exception class.
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")


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


class TorchEngine(DescribedOnceOpen):
    """Infers with torch, on CUDA or on the CPU.

    Args:
        model: path of a `.torchscript` file, its manifest beside it.
        device: `cpu` or `cuda`, never replaced by the other; `auto` takes CUDA where there is a device.
        precision: `fp32`, `fp16`, or `auto`: fp16 on CUDA, fp32 on the CPU.
        threads: CPU threads of one inference; 0 uses every core.
        max_batch: frames at once; 0 takes what suits the device.
        owners: who may have written the file; see `trusted_file`.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str,
        precision: str,
        threads: int,
        max_batch: int,
        owners: Collection[int] | None = None,
    ) -> None:
        self._path = Path(model)
        self._wished_device = device
        self._wished_precision = precision
        self._threads = threads
        self._wished_batch = max_batch
        self._owners = owners
        self._network: Any = None

    def infer(self, frames: Frames) -> Candidates:
        """See `Engine.infer`."""
        try:
            return self._infer(frames)
        except Exception as error:
            found = classify(error, self._device_works)
            if isinstance(found, OutOfMemory) and self._on_cuda:
                self._torch.cuda.empty_cache()  # what other batch sizes left behind may be all that was missing
            raise found from error

    def __enter__(self) -> "TorchEngine":
        torch = self._torch = import_torch()
        export = checked_export(self._path, self._owners)
        self._manifest = export.manifest
        self._device = torch.device(choose_device(torch, self._wished_device))
        half = self._wished_precision == "fp16" or (self._wished_precision == "auto" and self._on_cuda)
        self._element = torch.float16 if half else torch.float32
        if self._on_cuda and not half:
            torch.backends.cudnn.allow_tf32 = False  # else fp32 convolutions have the 10-bit fractions of fp16
        if self._threads:
            torch.set_num_threads(self._threads)
        try:
            self._network = load_network(torch, export.file, self._device).to(self._element)
            most = self._largest_wanted()
            self._lane = Lane(self._device, max(most, self._manifest.batch or 1), self._manifest.input, TOP_ROWS)
            largest = most if self._takes(most) else 1
            self._warm_up(largest)
        except Exception as error:  # torch raises RuntimeErrors for everything
            raise StartError(
                f"FRAMEFLEET_MODEL: {self._path} does not run in torch {torch.__version__} on {self._device} "
                f"({first_line(error)}); export it again, or lower FRAMEFLEET_MAX_BATCH if memory is short"
            ) from error
        self._info = self._describe(largest, "fp16" if half else "fp32", fixed=largest < most)
        return self

    def __exit__(self, *error: object) -> None:
        self._network = None
        if self._on_cuda and self._device_works():
            self._torch.cuda.empty_cache()

    @property
    def _on_cuda(self) -> bool:
        return bool(self._device.type == "cuda")

    def _infer(self, frames: Frames) -> Candidates:
        with self._torch.inference_mode():
            uploaded = self._lane.upload(frames, self._manifest.batch or len(frames))
            rgb = uploaded.flip(3).permute(0, 3, 1, 2)
            # Contiguous, since some exports reshape what they take to be so.
            pixels = rgb.to(self._element, memory_format=self._torch.contiguous_format).mul_(self._manifest.scale)
            candidates = to_candidates(rows_of(self._network(pixels)), self._manifest.layout, len(self._manifest.names))
            if len(candidates) != len(pixels):
                raise RuntimeError(f"{len(candidates)} answers to {len(pixels)} frames: the export fixes its batch")
            return self._lane.download(candidates)[: len(frames)]

    def _largest_wanted(self) -> int:
        fixed = self._manifest.batch
        if fixed:
            return min(fixed, self._wished_batch or fixed)
        return self._wished_batch or PREFERRED_BATCH[self._device.type]

    def _takes(self, size: int) -> bool:
        """Whether a batch of this size runs: a trace may have fixed the batch without saying so."""
        try:
            self._infer(self._blank(size))
        except RuntimeError:
            if size == 1 or self._wished_batch:
                raise
            return False
        return True

    def _warm_up(self, largest: int) -> None:
        for size in range(1, largest + 1):
            for _ in range(WARM_UP_RUNS):
                self._infer(self._blank(size))

    def _blank(self, size: int) -> Frames:
        return np.zeros((size, *self._manifest.input, 3), np.uint8)

    def _device_works(self) -> bool:
        try:
            self._lane.wait()
        except Exception:  # whatever it is, the device did not finish its work
            return False
        return True

    def _describe(self, largest: int, precision: str, *, fixed: bool) -> EngineInfo:
        where = f"cuda: {self._torch.cuda.get_device_name(self._device)}" if self._on_cuda else "cpu"
        note = f"torch {self._torch.__version__}, NMS on the host"
        return EngineInfo(
            kind="torchscript",
            model=self._manifest.name,
            device=where,
            input_size=self._manifest.input,
            max_batch=largest,
            classes=self._manifest.names,
            note=note + (", the export takes one frame at a time" if fixed else ""),
            precision=precision,
        )


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
