"""Parses and builds serving graphs with TensorRT-RTX, which needs no GPU to build: `python -m bench.check_trt`.

It shows that our graphs and our builder code suit TensorRT's parser and interface. It proves nothing about the speed
or the answers of an engine, and TensorRT itself may still differ.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("bench.check_trt")


import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from framefleet.wire.errors import ModelError
from service.models.build.graph import read_graph
from service.models.build.trt import BatchRange, build_plan
from service.models.convert.fp16 import to_half
from service.models.convert.serving_graph import to_bytes, to_serving_graph
from tests.service.models.yolo import YOLOV5N, YOLOV5S, YoloSpec, build_yolo

DEFAULT_MODEL = Path("var/models/centerface-320.onnx")
BATCHES = BatchRange(most=8, tuned=8)
ROW = "{:<16} {:>9} {:>9} {:>7} {:>9} {:>9} {:>8}  {}"


@dataclass(frozen=True, slots=True)
class GraphCase:
    """One build: the model's `name`, its `precision`, and what makes the serving graph."""

    name: str
    precision: str
    graph: Callable[[], onnx.ModelProto]


def cases(default_model: Path = DEFAULT_MODEL) -> Iterator[GraphCase]:
    """YOLOv5n and s and a v8 head at 640x640, and the default model, each in full and in half precision."""
    shapes = {"yolov5n": YOLOV5N, "yolov5s": YOLOV5S, "yolov5n, v8 head": replace(YOLOV5N, layout="yolov8")}
    for name, spec in shapes.items():
        yield from _both(name, partial(_yolo, spec))
    yield from _both(default_model.stem, lambda: read_graph(default_model).model)


def check(trt: Any, case: GraphCase) -> str:
    """Builds one case.

    Returns:
        Its row of the table.

    Raises:
        ModelError: it cannot be built.
    """
    graph = case.graph()
    data = to_bytes(graph)
    size = "x".join(str(dim.dim_value) for dim in graph.graph.input[0].type.tensor_type.shape.dim[1:3])
    began = time.monotonic()
    plan = build_plan(trt, data, BATCHES)
    seconds = time.monotonic() - began
    batches = f"1..{BATCHES.most}"
    megabytes = f"{len(data) / 1e6:.1f}", f"{len(plan.engine) / 1e6:.1f}"
    return ROW.format(case.name, case.precision, size, batches, *megabytes, f"{seconds:.1f}", "built")


def main(arguments: Sequence[str] = ()) -> int:
    """Prints the table; 1 when a graph cannot be built, or TensorRT-RTX is missing."""
    try:
        import tensorrt_rtx as trt
    except ImportError as error:
        print(f"check-trt: TensorRT-RTX cannot be imported ({error}); run `make torch`", file=sys.stderr)
        return 1
    print(f"TensorRT-RTX {trt.__version__}, built on this machine's CPU\n")
    print(ROW.format("model", "precision", "input", "batch", "graph MB", "engine MB", "s", ""))
    failed = 0
    for case in cases():
        try:
            print(check(trt, case), flush=True)
        except ModelError as error:
            failed += 1
            print(ROW.format(case.name, case.precision, "", "", "", "", "", f"FAILED: {error}"), flush=True)
    return 1 if failed else 0


def _both(name: str, graph: Callable[[], onnx.ModelProto]) -> Iterator[GraphCase]:
    yield GraphCase(name, "fp32", graph)
    yield GraphCase(name, "fp16", lambda: to_half(graph()))


def _yolo(spec: YoloSpec) -> onnx.ModelProto:
    assert spec.size is not None
    return to_serving_graph(
        build_yolo(spec),
        name="yolo",
        input_size=spec.size,
        names=[str(number) for number in range(spec.classes)],
        scale=1 / 255,
        source_sha256="",
    )
