"""Command line of the engine builder: `python -m service.models.build MODEL`, on the GPU that the engine is for.

`calibration_frames`: what a built engine and ONNX Runtime are both shown before the engine may
serve.

`BuildOrder`: the way from a serving graph to an installed TensorRT engine.

serving graph --fp16--> typed graph --build_trt--> [Plan] --gate: boxes against ONNX Runtime [Agreement]--> installed.
An engine that is in place for this graph, GPU, TensorRT version and precision is left alone.

`Toolchain`, `local_toolchain`: what a build needs of the machine: TensorRT, the GPU it builds for, and a way to run
what it made.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("service.models.build.__main__")


import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from framefleet.client.sources import MediaError, open_source, silence_libraries
from framefleet.whole_file import sha256, sha256_of, write_whole
from framefleet.wire.errors import ModelError
from framefleet.wire.manifest import BuiltFor, Manifest, read_manifest, write_manifest
from service.engines import Engine, load_engine, warm_up
from service.engines.trt.cuda_context import Gpu, primary_context
from service.engines.trt.cuda_driver import probe_driver
from service.errors import ServiceError, StartError
from service.models.build.gate import Agreement, compare
from service.models.build.graph import PRECISIONS, ServingGraph, read_graph
from service.models.build.trt import BatchRange, OnStep, Plan, build_plan
from service.models.convert.fp16 import to_half
from service.models.convert.serving_graph import to_bytes
from service.pictures.image import Frame, letterbox
from service.settings import Settings

LEAST_AGREEMENT = {"fp32": 0.99, "fp16": 0.98, "int8": 0.95}
"""Share of boxes that must agree with ONNX Runtime, by precision."""
Frames = npt.NDArray[np.uint8]
Say = Callable[[str], None]
DEFAULT_BATCH = 8
DEFAULT_FRAMES = 32
SAMPLE_VIDEO = Path("video/carphone_pristine.mp4")


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A TensorRT and the GPU it builds for.

    Attributes:
        trt: the `tensorrt` module, or one with its interface.
        gpu: the GPU it builds for.
        open_engine: makes the engine of a file, not opened yet.
    """

    trt: Any
    gpu: Gpu
    open_engine: Callable[[Path], Engine]


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


def local_toolchain() -> Toolchain:
    """TensorRT on this machine's first GPU.

    Raises:
        StartError: there is no NVIDIA driver, no GPU, or no pycuda.
        ModelError: TensorRT is not installed.
    """
    probe_driver()  # TensorRT itself may crash without one
    try:
        import tensorrt
    except ImportError as error:
        raise ModelError(f"TensorRT cannot be imported ({error}); install this project's `gpu` extra") from error
    with primary_context() as gpu:
        return Toolchain(tensorrt, gpu, lambda path: load_engine(Settings(model=str(path), trust_any_path=1)))


def main(arguments: Sequence[str] | None = None, find_tools: Callable[[], Toolchain] = local_toolchain) -> int:
    """Command line.

    Args:
        arguments: without the program's name; the process's own by default.
        find_tools: looks for a GPU and TensorRT.

    Returns:
        0 when the engine is in place, 1 with one line on stderr when not.
    """
    order = _read(arguments)
    silence_libraries()
    try:
        tools = find_tools()
        with closing(Bar()) as bar:
            path = build(order, tools, bar.say, bar.step)
    except (ModelError, StartError) as error:
        print(f"engine: {error}", file=sys.stderr)
        return 1
    print(f"serve it: make up MODEL={path}")
    return 0


class Bar:
    """A progress line on stderr, and whole lines above it."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] = tqdm(desc="engine", unit="step", leave=False, disable=not sys.stderr.isatty())

    def say(self, line: str) -> None:
        """Prints a line that stays."""
        self._bar.write(line)

    def step(self, phase: str, done: int, total: int) -> None:
        """Shows the phase that TensorRT is in."""
        self._bar.set_postfix_str(f"{phase} {done}/{total}", refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Takes the progress line away."""
        self._bar.close()


def _read(arguments: Sequence[str] | None) -> BuildOrder:
    parser = argparse.ArgumentParser(prog="python -m service.models.build", description=__doc__)
    parser.add_argument("model", type=Path, help="serving graph, such as var/models/centerface-320.onnx")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="auto is int8 for quantised graphs and fp16 for all others",
    )
    parser.add_argument(
        "--max-batch", type=_count, default=DEFAULT_BATCH, help="frames at once at most (default: %(default)s)"
    )
    parser.add_argument("--tuned-batch", type=_count, help="batch size to tune for (default: the largest)")
    parser.add_argument(
        "--frames", type=Path, help="video or folder for the accuracy gate (default: VAR/video/carphone_pristine.mp4)"
    )
    parser.add_argument(
        "--frame-count", type=_count, default=DEFAULT_FRAMES, help="frames to compare (default: %(default)s)"
    )
    shares = ", ".join(f"{share} for {precision}" for precision, share in LEAST_AGREEMENT.items())
    parser.add_argument(
        "--agreement", type=_share, help=f"share of boxes that must agree with ONNX Runtime, 0 to 1 (default: {shares})"
    )
    parser.add_argument("--var", type=Path, default=Path("var"), help="state folder (default: %(default)s)")
    options = parser.parse_args(arguments)
    tuned = options.tuned_batch or options.max_batch
    if tuned > options.max_batch:
        parser.error(f"--tuned-batch {tuned} is over --max-batch {options.max_batch}")
    return BuildOrder(
        model=options.model,
        precision=options.precision,
        batches=BatchRange(most=options.max_batch, tuned=tuned),
        frames=options.frames or options.var / SAMPLE_VIDEO,
        frame_count=options.frame_count,
        least=options.agreement,
        var=options.var,
    )


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not within 0 to 1")
    return value


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
