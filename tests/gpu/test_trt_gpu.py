"""TensorRT itself: ONNX Runtime's boxes from every batch size, two batches in flight, and clear words for bad files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("pycuda.driver", exc_type=ImportError, reason="pycuda is not installed, or has no driver")
pytest.importorskip("tensorrt", exc_type=ImportError, reason="TensorRT is not installed")

import tensorrt

from framefleet.whole_file import sha256
from framefleet.wire.manifest import BuiltFor, Manifest, write_manifest
from service.engines import load_engine
from service.engines.trt.cuda_context import primary_context
from service.engines.trt.engine import TrtEngine
from service.errors import StartError
from service.models.build.gate import compare
from service.models.build.trt import BatchRange, build_plan
from service.models.convert.serving_graph import to_bytes, to_serving_graph
from service.settings import Settings
from tests.service.engines.torch_models import pictures
from tests.service.models.manifests import save_model
from tests.service.models.yolo import YOLOV5N, build_yolo

pytestmark = pytest.mark.gpu
SIZE = (320, 320)
CLASSES = ("one", "two", "three", "four")
MAX_BATCH = 9
"""One more than is recorded as a graph."""

Frames = npt.NDArray[np.uint8]
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def frames() -> Frames:
    return np.asarray(pictures(MAX_BATCH, SIZE), np.uint8)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = build_yolo(replace(YOLOV5N, size=SIZE, classes=len(CLASSES)))
    serving = to_serving_graph(
        network, name="random", input_size=SIZE, names=CLASSES, scale=1 / 255, source_sha256="0" * 64
    )
    return save_model(tmp_path_factory.mktemp("graph") / "random.onnx", to_bytes(serving), SIZE)


@pytest.fixture(scope="module")
def model(graph: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = build_plan(tensorrt, graph.read_bytes(), BatchRange(most=MAX_BATCH, tuned=MAX_BATCH)).engine
    with primary_context() as gpu:
        built_for = BuiltFor(
            gpu=gpu.name, compute=gpu.compute, tensorrt=tensorrt.__version__, graph_sha256="0" * 64, precision="fp32"
        )
    path = tmp_path_factory.mktemp("engine") / "random.engine"
    return write(path, plan, built_for)


def write(path: Path, plan: bytes, built_for: BuiltFor | None) -> Path:
    path.write_bytes(plan)
    manifest = Manifest(
        name="random",
        sha256=sha256(plan),
        source="random.onnx",
        source_sha256="0" * 64,
        layout="serving",
        input=SIZE,
        names=CLASSES,
        built_for=built_for,
    )
    write_manifest(path, manifest)
    return path


@pytest.fixture(scope="module")
def expected(graph: Path, frames: Frames) -> list[Any]:
    with load_engine(Settings(model=str(graph), device="cpu", cache=str(graph.parent))) as engine:
        return [engine.infer(frame[None])[0] for frame in frames]


def test_every_batch_size_gives_onnx_runtimes_boxes(
    model: Path, frames: Frames, expected: list[Any], record_property: Record
) -> None:
    with TrtEngine(str(model), max_batch=MAX_BATCH) as engine:
        record_property("note", engine.info.note)
        for size in (*range(1, MAX_BATCH + 1), 1, MAX_BATCH):
            agreement = compare(expected[:size], engine.infer(frames[:size]))
            # A random network amplifies TensorFloat-32's rounding more than a trained one.
            assert agreement.share > 0.9, f"batch {size}: {agreement}"


def test_two_batches_in_flight_do_not_mix(model: Path, frames: Frames) -> None:
    with TrtEngine(str(model), max_batch=4) as engine:
        alone = [engine.infer(frames[first : first + 4]) for first in (0, 4)]
        for _ in range(50):
            pending = [engine.begin(frames[first : first + 4]) for first in (0, 4)]
            for batch, wanted in zip(pending, alone, strict=True):
                np.testing.assert_allclose(batch.result()[..., 4], wanted[..., 4], atol=1e-3)


def test_an_engine_can_be_opened_again_in_the_same_process(model: Path, frames: Frames) -> None:
    for _ in range(3):
        with TrtEngine(str(model), max_batch=2) as engine:
            assert engine.infer(frames[:2]).shape[0] == 2


def test_what_is_no_engine_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"cannot load .*run `make engine`"):
        TrtEngine(str(write(tmp_path / "x.engine", b"garbage" * 1000, None))).__enter__()


def test_an_engine_cut_short_with_its_manifest_made_for_that_is_one_line(model: Path, tmp_path: Path) -> None:
    data = model.read_bytes()
    with pytest.raises(StartError, match=r"cannot load .*run `make engine`"):
        TrtEngine(str(write(tmp_path / "x.engine", data[: len(data) // 2], None))).__enter__()
