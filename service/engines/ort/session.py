"""Opens ONNX Runtime sessions: on the device that was asked for or not at all, with optimised graphs kept on disk."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framefleet.wire.errors import first_line
from framefleet.wire.manifest import read_manifest
from service.engines.ort.cache import cached_graph, processor_name
from service.engines.ort.providers import Placement, placements, tensorrt_options
from service.errors import StartError

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
