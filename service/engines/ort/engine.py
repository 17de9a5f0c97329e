"""ONNX Runtime over a serving graph: the engine of machines without a GPU, and of those with its CUDA build.

`OpenSession`, `SessionMaker`: opens ONNX Runtime sessions: on the device that was asked for or not at all, with
optimised graphs kept on disk.
"""

import json
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from framefleet.wire.errors import first_line
from framefleet.wire.manifest import read_manifest
from service.engines import Candidates, DescribedOnceOpen, EngineInfo, Frames
from service.engines.model_file import checked_sha256
from service.engines.ort.cache import cached_graph, demand_own_cache, processor_name
from service.engines.ort.providers import Placement, placements, tensorrt_options
from service.errors import EngineFault, InferenceFailed, OutOfMemory, StartError

# On a CPU one frame at a time: a batch costs as much as its frames, and the first of them would wait for the last.
PREFERRED_BATCH = {"cpu": 1, "cuda": 8, "tensorrt": 8}
_FULL = ("out of memory", "Failed to allocate memory")
_DEVICE_WORDS = ("CUDA", "CUBLAS", "CUDNN")
QUIET = 3  # errors only: they reach us as exceptions anyway


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session, and where it runs.

    Attributes:
        session: an `onnxruntime.InferenceSession`.
        device: cpu, cuda or tensorrt.
        note: why it is not on a better device; empty where it is on the best.
    """

    session: Any
    device: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionMaker:
    """What a session is opened with.

    Attributes:
        runtime: the `onnxruntime` module.
        path: a serving graph.
        digest: its hash.
        device: auto, cpu, cuda or tensorrt.
        cache: folder for optimised graphs.
        threads: CPU threads of one inference; 0 uses every core.
        largest_batch: frames at once that a TensorRT engine is built for.
    """

    runtime: Any
    path: Path
    digest: str
    device: str
    cache: Path
    threads: int
    largest_batch: int

    def open(self) -> OpenSession:
        """Opens the model on the first device that works.

        Raises:
            StartError: none does; an explicit device is the only one tried.
        """
        tried = placements(self.device, self.runtime.get_available_providers())
        failure = ""
        for placement in tried:
            try:
                session = self._open(placement)
            except Exception as error:  # ONNX Runtime's exception classes share no base of their own
                failure = f"{placement.device}: {first_line(error)}"
                continue
            if placement.provider in session.get_providers():
                return OpenSession(session, placement.device, f"not on {failure}" if failure else "")
            failure = f"{placement.device}: ONNX Runtime left {placement.provider} out; its log above says why"
        if tried[-1].device != "cpu":
            raise StartError(
                f"FRAMEFLEET_DEVICE: {failure}; check `nvidia-smi` and the CUDA libraries that ONNX Runtime needs, "
                "or set FRAMEFLEET_DEVICE=cpu"
            )
        raise StartError(f"FRAMEFLEET_MODEL: {self.path} is no model ONNX Runtime can load ({failure}); make it again")

    def _open(self, placement: Placement) -> Any:
        if placement.device == "cpu":
            return self._open_cached(placement)
        if placement.device == "tensorrt":
            size = read_manifest(self.path).input
            placement = Placement("tensorrt", tensorrt_options(str(self.cache / "tensorrt"), size, self.largest_batch))
        # Only the CPU's graphs are cached: those of other providers hold steps that cannot be written down.
        return self._create(self.path, placement, self._options())

    def _open_cached(self, placement: Placement) -> Any:
        cached = cached_graph(self.cache, self.path, self.digest, self.runtime.__version__, processor_name())
        if cached.is_whole():
            options = self._options()
            options.graph_optimization_level = self.runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
            with suppress(Exception):  # whatever is wrong with it: it is made again
                return self._create(cached.path, placement, options)
        scratch = cached.scratch()
        if scratch is not None:
            options = self._options()
            options.optimized_model_filepath = str(scratch)
            try:
                session = self._create(self.path, placement, options)
                cached.keep(scratch)
                return session
            except Exception:  # perhaps the disk is full; if it is the model, the same comes again below
                pass
            finally:
                scratch.unlink(missing_ok=True)
        return self._create(self.path, placement, self._options())

    def _options(self) -> Any:
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = QUIET
        # A spinning pool burns the cores that decoding and the neighbouring instances need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options

    def _create(self, path: Path, placement: Placement, options: Any) -> Any:
        # Without `enable_fallback=0` a provider that fails is replaced, with no more than a line on stdout.
        return self.runtime.InferenceSession(path, options, providers=placement.chain, enable_fallback=0)


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
