"""ONNX Runtime over a serving graph: the engine of machines without a GPU, and of those with its CUDA build."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from service.engines import Candidates, DescribedOnceOpen, EngineInfo, Frames
from service.engines.model_file import checked_sha256
from service.engines.ort.cache import demand_own_cache
from service.engines.ort.session import OpenSession, SessionMaker
from service.errors import EngineFault, InferenceFailed, OutOfMemory, StartError

# On a CPU one frame at a time: a batch costs as much as its frames, and the first of them would wait for the last.
PREFERRED_BATCH = {"cpu": 1, "cuda": 8, "tensorrt": 8}

_FULL = ("out of memory", "Failed to allocate memory")
_DEVICE_WORDS = ("CUDA", "CUBLAS", "CUDNN")


class OrtEngine(DescribedOnceOpen):
    """Infers with ONNX Runtime.

    Args:
        model: path of a serving graph (`make model` writes them).
        device: `cpu`, `cuda` or `tensorrt`, never replaced by another; `auto` takes CUDA where it works, else the CPU.
        cache: folder for optimised graphs.
        threads: CPU threads of one inference; 0 uses every core.
        max_batch: frames at once; 0 takes what suits the device.
        owners: who may have written engines that TensorRT finds in the cache; see `trusted_file`.
        runtime: the `onnxruntime` module; imported when it is None.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str,
        cache: Path,
        threads: int,
        max_batch: int,
        owners: Collection[int] | None = None,
        runtime: Any = None,
    ) -> None:
        self._path = Path(model)
        self._device = device
        self._cache = cache
        self._threads = threads
        self._wished_batch = max_batch
        self._owners = owners
        self._runtime = runtime
        self._session: Any = None
        self._batch: int | None = None

    def infer(self, frames: Frames) -> Candidates:
        """See `Engine.infer`."""
        try:
            if self._batch is None:
                return self._run(frames)
            starts = range(0, len(frames), self._batch)
            parts = [self._run(padded(frames[first : first + self._batch], self._batch)) for first in starts]
            return np.concatenate(parts)[: len(frames)]
        except Exception as error:  # ONNX Runtime's exception classes share no base of their own
            raise _classified(error, self.info.device) from error

    def __enter__(self) -> "OrtEngine":
        if self._runtime is None:
            import onnxruntime

            self._runtime = onnxruntime
        if self._device == "tensorrt":
            demand_own_cache(self._cache / "tensorrt", self._owners)
        maker = SessionMaker(
            runtime=self._runtime,
            path=self._path,
            digest=checked_sha256(self._path),
            device=self._device,
            cache=self._cache,
            threads=self._threads,
            largest_batch=self._wished_batch or PREFERRED_BATCH["tensorrt"],
        )
        opened = maker.open()
        self._info = self._describe(opened)
        self._session = opened.session
        return self

    def __exit__(self, *error: object) -> None:
        self._session = None

    def _run(self, frames: Frames) -> Candidates:
        (candidates,) = self._session.run(None, {"frames": frames})
        return np.asarray(candidates, np.float32)

    def _describe(self, opened: OpenSession) -> EngineInfo:
        metadata = opened.session.get_modelmeta().custom_metadata_map
        if metadata.get("framefleet.serving") != "1":
            raise StartError(
                f"FRAMEFLEET_MODEL: {self._path} is a plain ONNX export, not a serving graph; "
                f"`make model MODEL={self._path}` makes one of it"
            )
        batch, height, width, _ = opened.session.get_inputs()[0].shape
        self._batch = batch if isinstance(batch, int) else None
        fixed = f"the export fixes batches of {batch}: smaller ones are padded" if self._batch else ""
        return EngineInfo(
            kind="onnxruntime",
            model=metadata["framefleet.name"],
            device=opened.device,
            input_size=(height, width),
            max_batch=self._wished_batch or self._batch or PREFERRED_BATCH[opened.device],
            classes=tuple(json.loads(metadata["framefleet.names"])),
            note="; ".join(filter(None, (opened.note, fixed))),
            precision=metadata.get("framefleet.precision", ""),
        )


def padded(frames: Frames, size: int) -> Frames:
    """Frames followed by black ones up to a fixed batch."""
    if len(frames) == size:
        return frames
    return np.concatenate((frames, np.zeros((size - len(frames), *frames.shape[1:]), np.uint8)))


def _classified(error: Exception, device: str) -> Exception:
    """CUDA errors other than a full memory stay: every later call fails too, so the process has to end."""
    message = f"ONNX Runtime: {error}"
    if any(word in message for word in _FULL):
        return OutOfMemory(message)
    if device != "cpu" and any(word in message for word in _DEVICE_WORDS):
        return EngineFault(message)
    return InferenceFailed(message)
