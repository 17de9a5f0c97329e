"""Our builder code against TensorRT-RTX, which has TensorRT's interface and needs no GPU to build."""

from pathlib import Path
from typing import Any

import onnx
import pytest

from framefleet.wire.errors import ModelError
from service.models.build.trt import BatchRange, build_plan
from service.models.convert.fp16 import to_half
from service.models.convert.serving_graph import to_bytes
from tests.service.models.graphs import serving, write_quantised
from tests.service.models.yolo import TINY, build_yolo

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed; `make torch` installs it")

import tensorrt_rtx as rtx

# RTX takes timing caches and does nothing with them.
pytestmark = pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops:DeprecationWarning")
BATCHES = BatchRange(most=4, tuned=2)


def readable(plan: bytes) -> bool:
    """Whether a plan begins as RTX's plans do; loading one needs a GPU."""
    return plan[1:4] == b"trt" and len(plan) > 10_000


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    return serving(build_yolo(TINY))


def test_full_and_half_precision_are_built(graph: onnx.ModelProto) -> None:
    full, half = (build_plan(rtx, to_bytes(model), BATCHES).engine for model in (graph, to_half(graph)))
    assert readable(full) and readable(half)
    assert len(half) < len(full)


def test_a_quantised_graph_is_built(tmp_path: Path) -> None:
    assert readable(build_plan(rtx, write_quantised(tmp_path / "q.onnx").read_bytes(), BATCHES).engine)


def test_a_graph_with_a_fixed_batch_needs_no_profile() -> None:
    fixed = serving(build_yolo(TINY.__class__(width=TINY.width, size=TINY.size, classes=TINY.classes, batch=2)))
    assert readable(build_plan(rtx, to_bytes(fixed), BATCHES).engine)


@pytest.mark.parametrize("known", [b"", b"of another version"], ids=["none", "unusable"])
def test_timings_are_measured_anew_where_there_are_none_that_fit(graph: onnx.ModelProto, known: bytes) -> None:
    first = build_plan(rtx, to_bytes(graph), BATCHES, timing_cache=known)
    second = build_plan(rtx, to_bytes(graph), BATCHES, timing_cache=first.timing_cache)
    assert readable(second.engine) and second.timing_cache


def test_progress_is_told_phase_by_phase(graph: onnx.ModelProto) -> None:
    steps: list[tuple[str, int, int]] = []
    build_plan(rtx, to_bytes(graph), BATCHES, on_step=lambda *step: steps.append(step))
    assert {phase for phase, _, _ in steps} >= {"Building engine"}
    assert all(1 <= done <= total for _, done, total in steps)


def test_an_interrupt_ends_the_build_quietly(graph: onnx.ModelProto, capfd: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_step: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(ModelError, match=r"cannot build the engine: .*cancel"):
        build_plan(rtx, to_bytes(graph), BATCHES, on_step=interrupted)
    assert capfd.readouterr() == ("", "")


def _with_unknown_operator(graph: onnx.ModelProto) -> bytes:
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    copy.graph.node[3].op_type = "NonMaxSuppressionOfOurs"
    return to_bytes(copy)


@pytest.mark.parametrize("spoil", [lambda graph: b"garbage", _with_unknown_operator], ids=["garbage", "operator"])
def test_what_tensorrt_cannot_parse_is_refused_in_its_words(graph: onnx.ModelProto, spoil: Any) -> None:
    with pytest.raises(ModelError, match=r"TensorRT 1\.\S+ cannot parse the graph: node .+: .+"):
        build_plan(rtx, spoil(graph), BATCHES)


def test_what_tensorrt_cannot_build_is_refused_in_its_words(graph: onnx.ModelProto) -> None:
    with pytest.raises(ModelError, match=r"cannot build the engine: .*profile"):
        build_plan(rtx, to_bytes(graph), BatchRange(most=1, tuned=2))
