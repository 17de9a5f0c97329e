"""TensorRT through pycuda: the engine of `.engine` files.

Everything is made, used and released by the thread that enters the engine, in the device's primary context.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from framefleet.wire.manifest import Manifest
from service.engines import Candidates, DescribedOnceOpen, EngineInfo, Frames
from service.engines.trt.cuda_context import Gpu, primary_context
from service.engines.trt.cuda_driver import probe_driver
from service.engines.trt.file import (
    EngineFile,
    check_built_for,
    checked_plugin,
    demand_gpu,
    plugin_error,
    read_engine_file,
)
from service.engines.trt.pipeline import IN_FLIGHT, TrtPending, TrtPipeline
from service.errors import EngineFault, InferenceFailed, StartError

PREFERRED_BATCH = 8


class TrtEngine(DescribedOnceOpen):
    """Infers on a GPU.

    Args:
        model: path of an engine file, its manifest beside it.
        plugin: shared library with the engine's custom layers; empty takes the one the manifest names.
        max_batch: frames at once; 0 takes what suits a GPU. An engine that was built for fewer takes those.
        device: where it is asked to run; `cpu` is refused.
        owners: ids of the users that engine and plugin may belong to; None trusts everybody.
        load_library: loads a shared library by name or path; raises OSError when it can't.
    """

    def __init__(
        self,
        model: str,
        *,
        plugin: str = "",
        max_batch: int = 0,
        device: str = "auto",
        owners: Collection[int] | None = None,
        load_library: Callable[[str], Any] = ctypes.CDLL,
    ) -> None:
        self._path = Path(model)
        self._device = device
        self._plugin = plugin
        self._wanted = max_batch or PREFERRED_BATCH
        self._owners = owners
        self._load_library = load_library
        self._held = ExitStack()
        self._pipeline: TrtPipeline | None = None

    def infer(self, frames: Frames) -> Candidates:
        """See `Engine.infer`."""
        return self.begin(frames).result()

    def begin(self, frames: Frames) -> TrtPending:
        """See `PipelinedEngine.begin`."""
        if self._pipeline is None:
            raise RuntimeError("the engine is not open")
        return self._pipeline.begin(frames)

    def __enter__(self) -> TrtEngine:
        demand_gpu(self._device)
        probe_driver(self._load_library)
        version = _tensorrt_version()
        file = read_engine_file(self._path, self._owners)
        self._load_plugin(file.manifest)
        failure = self._start(file, version)
        if failure:  # TensorRT's objects went with the error that tells; they need the context, which goes now
            self._release(quietly=True)
            raise StartError(failure)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Releases everything, in reverse order."""
        self._release(quietly=error is not None)

    def _load_plugin(self, manifest: Manifest) -> None:
        """Loads the custom layers: they announce themselves to TensorRT, which looks for them while it reads."""
        library = checked_plugin(self._plugin, manifest, self._owners)
        try:
            if library:
                self._load_library(str(library))
        except OSError as error:
            raise plugin_error(library, error) from error

    def _start(self, file: EngineFile, version: str) -> str:
        """Takes the device and makes the pipeline; returns why that failed, or nothing."""
        try:
            gpu = self._held.enter_context(primary_context())
            check_built_for(file, gpu, version)
            self._held.callback(self._forget)  # after the pipeline's memory and before the context
            self._pipeline = TrtPipeline(file, self._wanted, self._held)
            self._info = _describe(file.manifest, gpu, version, self._pipeline)
        except (StartError, EngineFault, InferenceFailed) as error:
            return self._explain(error)
        return ""

    def _release(self, *, quietly: bool) -> None:
        """Gives everything back.

        Args:
            quietly: an error is on its way already; a device beyond repair cannot give memory back, and the first
                error says more.
        """
        with suppress(Exception) if quietly else nullcontext():
            self._held.close()

    def _forget(self) -> None:
        self._pipeline = None

    def _explain(self, error: Exception) -> str:
        if isinstance(error, StartError):
            return str(error)
        return (
            f"FRAMEFLEET_MODEL: {self._path} cannot be run on this GPU: {error}; "
            "free memory on it, lower FRAMEFLEET_MAX_BATCH, or look at `nvidia-smi`"
        )


def _tensorrt_version() -> str:
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        raise StartError(f"GPU: TensorRT cannot be imported ({error}); install the `gpu` extra") from error
    return tensorrt.__version__


def _describe(manifest: Manifest, gpu: Gpu, version: str, pipeline: TrtPipeline) -> EngineInfo:
    precision = manifest.built_for.precision if manifest.built_for else ""
    host = "" if manifest.layout == "serving" else "; frames and rows are converted on the CPU"
    return EngineInfo(
        kind="tensorrt",
        model=manifest.name,
        device=f"{gpu.name} ({gpu.compute})",
        input_size=manifest.input,
        max_batch=pipeline.max_batch,
        classes=manifest.names,
        note=f"TensorRT {version}{precision and f', {precision}'}; {pipeline.note}{host}",
        in_flight=IN_FLIGHT,
        precision=precision,
    )
