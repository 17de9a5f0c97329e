"""`make check-trt`: YOLOv5-shaped serving graphs at 640x640 and the default model, through TensorRT-RTX."""

from pathlib import Path

import pytest

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed; `make torch` installs it")

import tensorrt_rtx as rtx

from bench.check_trt import GraphCase, cases, check, main
from framefleet.wire.errors import ModelError

pytestmark = pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops:DeprecationWarning")
CASES = list(cases(Path(__file__).parents[2] / "var/models/centerface-320.onnx"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} {case.precision}")
def test_the_graph_is_parsed_and_built(case: GraphCase, default_model: Path) -> None:
    row = check(rtx, case)
    assert row.split()[-1] == "built" and "1..8" in row


def test_a_graph_that_is_not_built_fails_the_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ModelError("no such graph")

    monkeypatch.setattr("bench.check_trt.cases", lambda: [GraphCase("broken", "fp32", broken)])  # type: ignore[arg-type]
    assert main() == 1
    assert "FAILED: no such graph" in capsys.readouterr().out
