"""TensorRT-RTX, of TensorRT's family and at home on a CPU, refuses files in the words that our one line passes on."""

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from framefleet.wire.manifest import Manifest
from service.engines.trt.file import EngineFile
from service.engines.trt.network import Network
from service.errors import StartError
from service.models.build.trt import BatchRange, build_plan
from service.models.convert.serving_graph import to_bytes, to_serving_graph
from tests.service.models.yolo import TINY, build_yolo

rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed; `make torch` does that")

pytestmark = pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops:DeprecationWarning")
SIZE = (64, 96)
CLASSES = ("one", "two", "three", "four")


@pytest.fixture(autouse=True)
def real_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", rtx)


@pytest.fixture(scope="module")
def plan() -> bytes:
    graph = to_serving_graph(
        build_yolo(TINY), name="tiny", input_size=SIZE, names=CLASSES, scale=1 / 255, source_sha256="0" * 64
    )
    return build_plan(rtx, to_bytes(graph), BatchRange(most=4, tuned=2)).engine


def load(plan: bytes) -> str:
    manifest = Manifest(
        name="tiny", sha256="", source="", source_sha256="", layout="serving", input=SIZE, names=CLASSES
    )
    with ExitStack() as stack, pytest.raises(StartError) as caught:
        Network(EngineFile(Path("x.engine"), manifest, plan), 4, 0, stack)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_garbage() -> None:
    error = load(b"garbage" * 100)
    assert f"TensorRT {rtx.__version__} cannot load x.engine (IRuntime::deserializeCudaEngine: " in error
    assert "run `make engine` on this machine" in error


def test_an_engine_cut_short(plan: bytes) -> None:
    assert "Serialization" in load(plan[: len(plan) // 2])
