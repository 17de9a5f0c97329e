"""TensorRT's builder: an ONNX graph in, a serialised engine out. No files, no GPU questions, no choice of precision.

The network is strongly typed: each tensor has the type the graph gives it, so that TensorRT 10, which could choose,
and 11, which cannot, build the same thing. The `tensorrt` module is an argument; TensorRT-RTX has the same interface
and builds on machines without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from framefleet.wire.errors import ModelError
from service.engines.trt.log import ErrorLog
from service.models.convert.serving_graph import INPUT

if TYPE_CHECKING:
    import tensorrt

OnStep = Callable[[str, int, int], None]
"""Told the phase, the steps of it that are done, and how many it has."""


@dataclass(frozen=True, slots=True)
class BatchRange:
    """Batch sizes an engine takes: from 1 to `most` frames, tuned for `tuned`."""

    most: int
    tuned: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What the builder made: the serialised `engine`, and the `timing_cache` that makes the next build quicker."""

    engine: bytes
    timing_cache: bytes


def build_plan(
    trt: Any, graph: bytes, batches: BatchRange, *, timing_cache: bytes = b"", on_step: OnStep | None = None
) -> Plan:
    """Builds an engine.

    Args:
        trt: the `tensorrt` module, or one with its interface.
        graph: serving graph, serialised; its types are the engine's types.
        batches: batch sizes; ignored where the graph fixes its batch.
        timing_cache: of an earlier build on the same GPU with the same TensorRT, or empty.
        on_step: told about progress.

    Raises:
        ModelError: TensorRT cannot parse or build the graph; with its own reason.
    """
    log = ErrorLog(trt)
    builder: tensorrt.Builder = trt.Builder(log.logger)
    # Version 11 knows strongly typed networks only, and may drop the flag's name as it dropped EXPLICIT_BATCH.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser: tensorrt.OnnxParser = trt.OnnxParser(network, log.logger)
    if not parser.parse(graph):
        raise ModelError(f"TensorRT {trt.__version__} cannot parse the graph: {_parse_errors(parser)}")
    config = builder.create_builder_config()
    if on_step is not None:
        config.progress_monitor = _monitor(trt, on_step)
    _add_profile(builder, config, network.get_input(0), batches)
    cache = _use_timing_cache(config, timing_cache)
    engine = builder.build_serialized_network(network, config)
    if engine is None:  # the reason is in the log alone
        raise ModelError(f"TensorRT {trt.__version__} cannot build the engine: {log.reason()}")
    return Plan(bytes(engine), bytes(cache.serialize()))


def _add_profile(
    builder: tensorrt.Builder, config: tensorrt.IBuilderConfig, entry: tensorrt.ITensor, batches: BatchRange
) -> None:
    batch, *frame = (entry.shape[axis] for axis in range(len(entry.shape)))
    if batch > 0:
        return
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, (1, *frame), (batches.tuned, *frame), (batches.most, *frame))
    config.add_optimization_profile(profile)


def _use_timing_cache(config: tensorrt.IBuilderConfig, data: bytes) -> tensorrt.ITimingCache:
    """Takes the earlier build's timings; those of another GPU or version are refused and measured anew."""
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _parse_errors(parser: tensorrt.OnnxParser) -> str:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return "; ".join(f"node {error.node_name() or '?'}: {error.desc()}" for error in errors) or "no reason given"


def _monitor(trt: Any, on_step: OnStep) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the base class is known only now
        """Passes steps on; an interrupt cancels the build without the traceback that TensorRT prints of exceptions."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._sizes: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._sizes[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:
                on_step(phase_name, step + 1, self._sizes.get(phase_name, 0))
            except KeyboardInterrupt:
                return False
            return True

        def phase_finish(self, phase_name: str) -> None:
            self._sizes.pop(phase_name, None)

    return Monitor()
