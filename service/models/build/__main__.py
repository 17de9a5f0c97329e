"""Command line of the engine builder: `python -m service.models.build MODEL`, on the GPU that the engine is for."""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("service.models.build.__main__")


import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from framefleet.client.sources import silence_libraries
from framefleet.wire.errors import ModelError
from service.errors import StartError
from service.models.build.graph import PRECISIONS
from service.models.build.recipe import LEAST_AGREEMENT, BuildOrder, build
from service.models.build.toolchain import Toolchain, local_toolchain
from service.models.build.trt import BatchRange

DEFAULT_BATCH = 8
DEFAULT_FRAMES = 32
SAMPLE_VIDEO = Path("video/carphone_pristine.mp4")


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
