"""One network in two runtimes, each behind a whole instance of its own: clients get the same boxes."""

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed; `make torch` installs it")

from tests.service.engines.stack import Side, compare_instances
from tests.service.engines.torch_pair import save_pair


def test_torch_and_onnx_runtime_give_the_same_boxes_through_the_whole_stack(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    script, graph = save_pair(tmp_path)
    torch, onnx = Side(script, {"device": "cpu", "max_batch": 2}), Side(graph, {"device": "cpu"})
    difference = compare_instances(torch, onnx, free_port, tmp_path, 8)
    assert difference.boxes > 20
    assert difference.worst_px <= 1 and difference.worst_score <= 0.01
    ours, _ = difference.engines
    assert (ours["kind"], ours["device"], ours["max_batch"]) == ("torchscript", "cpu", 2)
    assert "NMS on the host" in ours["note"]
