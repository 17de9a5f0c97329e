"""Measures an engine on this machine's GPU, alone and through the whole service: `python -m bench.gpu`.

Without `--model` it makes a YOLOv5s-shaped TorchScript network with random weights, which takes as long as a trained
one. Figures go to `./var/gpu/bench.json` and, as a table, to `./var/gpu/bench.md`. Nothing else should run meanwhile.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("bench.gpu")


import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from bench.gpu_parts import Figure, bare, decoding, through_service
from service.errors import StartError
from service.settings import Settings
from tests.gpu.machine import Machine, this_machine

HEAD = "| what | how | batch | frames/s | p50 ms | p95 ms |\n|---|---|---|---|---|---|"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints and writes; 1 with one line where there is no such device."""
    options = _options(arguments)
    machine = this_machine()
    if options.device == "cuda" and not machine.gpu:
        print(f"bench-gpu: {machine.lines()[0]}: nothing to measure", file=sys.stderr)
        return 1
    figures: list[Figure] = []
    remarks: list[str] = machine.lines()
    print(*remarks, "", HEAD, sep="\n")
    try:
        for found in measure(options):
            figures, remarks = _kept(found, figures, remarks)
    except (StartError, RuntimeError) as error:
        remarks.append(f"stopped: {error}")
        print(remarks[-1], file=sys.stderr)
    _write(options.out, machine, remarks, figures)
    return 0 if figures and not remarks[-1].startswith("stopped") else 1


def measure(options: argparse.Namespace) -> Iterator[Figure | str]:
    """Every figure in turn; a line of text for a part that is missing."""
    model = options.model or _network(options)
    body = _picture()
    most = max(options.batches)
    for precision in options.precisions:
        settings = {"model": str(model), "device": options.device, "precision": precision}
        yield from bare(Settings(**settings, max_batch=most), options.batches, options.seconds)  # type: ignore[arg-type]
        for batch in options.batches:
            yield through_service(settings, body, batch, options.seconds)
    yield from decoding(body, options.batches, options.seconds, options.device)


def row(figure: Figure) -> str:
    """A figure as a line of the table."""
    return f"| {figure.what} | {figure.how} | {figure.batch} | {figure.frames_s} | {figure.p50_ms} | {figure.p95_ms} |"


def _kept(found: Figure | str, figures: list[Figure], remarks: list[str]) -> tuple[list[Figure], list[str]]:
    print(found if isinstance(found, str) else row(found), flush=True)
    return ([*figures, found], remarks) if isinstance(found, Figure) else (figures, [*remarks, found])


def _write(folder: Path, machine: Machine, remarks: list[str], figures: list[Figure]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine.record(), "remarks": remarks, "figures": [asdict(figure) for figure in figures]}
    (folder / "bench.json").write_text(json.dumps(document, indent=2) + "\n")
    table = "\n".join([HEAD, *map(row, figures)])
    (folder / "bench.md").write_text("\n\n".join([*remarks, table]) + "\n")
    print(f"written to {folder}/bench.json and {folder}/bench.md")


def _network(options: argparse.Namespace) -> Path:
    from tests.service.engines.torch_models import save
    from tests.service.engines.yolo_torch import Yolo, randomise

    options.out.mkdir(parents=True, exist_ok=True)
    size = (options.size, options.size)
    network = randomise(Yolo(options.width, classes=4, size=size))
    return save(options.out / f"yolov5-{options.width}-{options.size}.torchscript", network, size)


def _picture() -> bytes:
    """A 640x480 JPEG of soft noise, about as large as a camera's."""
    coarse = np.random.default_rng(4).integers(0, 256, (60, 80, 3), np.uint8)
    picture = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--model", type=Path, help="model file to measure instead of a random network")
    parser.add_argument("--device", default="cuda", help="FRAMEFLEET_DEVICE of the runs (default: %(default)s)")
    parser.add_argument("--precisions", nargs="+", default=["fp16", "fp32"], help="(default: fp16 fp32)")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32], help="(default: 1 to 32)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--width", type=float, default=0.5, help="YOLOv5's width multiple (default: %(default)s, s)")
    parser.add_argument("--size", type=int, default=640, help="side of the network's input, px (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("var/gpu"), help="folder (default: %(default)s)")
    return parser.parse_args(arguments)
