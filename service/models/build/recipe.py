"""The way from a serving graph to an installed TensorRT engine.

serving graph --half--> typed graph --build_trt--> [Plan] --gate: boxes against ONNX Runtime [Agreement]--> installed.
An engine that is in place for this graph, GPU, TensorRT version and precision is left alone.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from framefleet.client.sources import MediaError, open_source
from framefleet.whole_file import sha256, sha256_of, write_whole
from framefleet.wire.errors import ModelError
from framefleet.wire.manifest import BuiltFor, Manifest, read_manifest, write_manifest
from service.engines import Engine, load_engine, warm_up
from service.errors import ServiceError
from service.models.build.gate import Agreement, compare
from service.models.build.graph import ServingGraph, read_graph
from service.models.build.toolchain import Toolchain
from service.models.build.trt import BatchRange, OnStep, Plan, build_plan
from service.models.convert.half import to_half
from service.models.convert.serving_graph import to_bytes
from service.pictures.image import Frame, letterbox
from service.settings import Settings

LEAST_AGREEMENT = {"fp32": 0.99, "fp16": 0.98, "int8": 0.95}


"""Share of boxes that must agree with ONNX Runtime, by precision."""


Frames = npt.NDArray[np.uint8]


Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOrder:
    """What to build.

    Attributes:
        model: path of a serving graph.
        precision: `fp32`, `fp16`, `int8`, or `auto`: int8 for a quantised graph, else fp16.
        batches: batch sizes the engine is for.
        frames: video or folder for the accuracy gate.
        frame_count: frames of it to compare.
        least: share of boxes that must agree with ONNX Runtime; None takes the precision's.
        var: state folder; `models` takes the engine, `cache` the timings.
    """

    model: Path
    precision: str
    batches: BatchRange
    frames: Path
    frame_count: int
    least: float | None
    var: Path


def build(order: BuildOrder, tools: Toolchain, say: Say, on_step: OnStep | None = None) -> Path:
    """Builds, judges and installs an engine.

    Args:
        order: what to build.
        tools: TensorRT, and the GPU it builds for.
        say: takes one line per step.
        on_step: told about the builder's progress.

    Returns:
        Path of the engine, its manifest beside it.

    Raises:
        ModelError: the graph cannot be built, or the engine's boxes are not the graph's; nothing was installed.
    """
    graph = read_graph(order.model)
    precision = graph.precision(order.precision)
    built_for = BuiltFor(
        gpu=tools.gpu.name,
        compute=tools.gpu.compute,
        tensorrt=tools.trt.__version__,
        graph_sha256=graph.sha256,
        precision=precision,
    )
    path = order.var / "models" / file_name(graph, built_for, order.batches)
    if _in_place(path, built_for):
        say(f"{path}: in place")
        return path
    frames = calibration_frames(order.frames, graph.input_size, order.frame_count)  # before minutes are spent
    say(f"building {precision} for {tools.gpu.name} with TensorRT {tools.trt.__version__}; this takes minutes")
    plan = _build(order, tools, graph, precision, on_step)
    manifest = _manifest(order.model, graph, plan, built_for)
    reference = load_engine(Settings(model=str(order.model), device="cpu", max_batch=1, cache=str(order.var / "cache")))
    agreement = _judge(reference, tools, frames, plan, manifest)
    if refusal := agreement.refusal(LEAST_AGREEMENT[precision] if order.least is None else order.least):
        raise ModelError(refusal)
    say(f"accuracy: {agreement}")
    _install(path, plan.engine, manifest)
    say(f"{path}: written ({len(plan.engine) / 1e6:.1f} MB)")
    return path


def file_name(graph: ServingGraph, built_for: BuiltFor, batches: BatchRange) -> str:
    """Names an engine by all it depends on, so that engines for several GPUs lie side by side."""
    gpu = "-".join("".join(letter if letter.isalnum() else " " for letter in built_for.gpu.lower()).split())
    batch = graph.batch or batches.most
    return (
        f"{graph.name}-{built_for.precision}-b{batch}-{gpu}-sm{built_for.compute.replace('.', '')}"
        f"-trt{built_for.tensorrt}-{graph.sha256[:8]}.engine"
    )


def _in_place(path: Path, built_for: BuiltFor) -> bool:
    found = sha256_of(path)
    if found is None:
        return False
    try:
        manifest = read_manifest(path)
    except ModelError:
        return False
    return manifest.built_for == built_for and manifest.sha256 == found


def _build(order: BuildOrder, tools: Toolchain, graph: ServingGraph, precision: str, on_step: OnStep | None) -> Plan:
    typed = to_half(graph.model) if precision == "fp16" else graph.model
    timings = order.var / "cache" / f"timings-sm{tools.gpu.compute}-trt{tools.trt.__version__}.cache"
    known = timings.read_bytes() if timings.exists() else b""
    plan = build_plan(tools.trt, to_bytes(typed), order.batches, timing_cache=known, on_step=on_step)
    write_whole(timings, plan.timing_cache)
    return plan


def _manifest(model: Path, graph: ServingGraph, plan: Plan, built_for: BuiltFor) -> Manifest:
    return Manifest(
        name=graph.name,
        sha256=sha256(plan.engine),
        source=model.name,
        source_sha256=graph.sha256,
        layout="serving",
        input=graph.input_size,
        names=graph.names,
        batch=graph.batch,
        built_for=built_for,
    )


def _judge(reference: Engine, tools: Toolchain, frames: Frames, plan: Plan, manifest: Manifest) -> Agreement:
    """Runs the reference, and the engine from a temporary place, over the same frames."""
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / "candidate.engine"
        _install(candidate, plan.engine, manifest)
        try:
            found = _candidates(tools.open_engine(candidate), frames)
            expected = _candidates(reference, frames)
        except ServiceError as error:
            raise ModelError(f"accuracy: the engine could not be compared ({error}); nothing was installed") from error
    return compare(expected, found)


def _candidates(engine: Engine, frames: Frames) -> list[npt.NDArray[np.float32]]:
    """Infers in the engine's largest batches, and a smaller one at the end."""
    found: list[npt.NDArray[np.float32]] = []
    with engine as opened:
        warm_up(opened)
        size = opened.info.max_batch
        for first in range(0, len(frames), size):
            found.extend(opened.infer(frames[first : first + size]))
    return found


def _install(path: Path, engine: bytes, manifest: Manifest) -> None:
    """The manifest first: an engine without one is refused, a manifest without an engine hurts nobody."""
    write_manifest(path, manifest)
    write_whole(path, engine)


def calibration_frames(source: Path, input_size: tuple[int, int], count: int) -> npt.NDArray[np.uint8]:
    """Letterboxes frames spread evenly over a video, or over a folder of pictures.

    Args:
        source: video, picture or folder.
        input_size: the model's height and width in px.
        count: frames at most; fewer where the source has fewer.

    Returns:
        uint8 [n, h, w, 3], BGR.

    Raises:
        ModelError: the source cannot be read or is empty.
    """
    try:
        opened = open_source(str(source))
        every = max(1, (opened.count or count) // count)
        kept = [frame.pixels for frame in opened.frames() if frame.index % every == 0][:count]
    except MediaError as error:
        raise ModelError(f"calibration frames: {error}; pass --frames with a video or a folder of pictures") from error
    if not kept:
        raise ModelError(f"calibration frames: {source} has none; pass --frames with a video or a folder of pictures")
    slots = np.empty((len(kept), *input_size, 3), np.uint8)
    for pixels, slot in zip(kept, slots, strict=True):
        letterbox(Frame(pixels, pixels.shape[1], pixels.shape[0]), slot)
    return slots
