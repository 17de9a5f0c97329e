"""What the GPU tests are made of, on the CPU: a first run on a GPU must not be the first run of its harness."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed; `make torch` installs it")

import torch

from tests.gpu.faults import SIZE, exit_code_after
from tests.gpu.faulty_torch import ILLEGAL_ADDRESS
from tests.gpu.machine import PARTS, Machine, this_machine
from tests.gpu.results import Result, table
from tests.service.engines.torch_models import save
from tests.service.engines.yolo_torch import Yolo, randomise


def test_a_lost_device_ends_the_process_with_70(free_port: Callable[[], int], tmp_path: Path) -> None:
    script = save(tmp_path / "tiny.torchscript", randomise(Yolo(0.125, classes=4, size=SIZE)), SIZE)
    code, log = exit_code_after(ILLEGAL_ADDRESS, script, "cpu", free_port, tmp_path)
    assert code == 70
    assert "a stand-in for an illegal memory access; the device is lost" in log


def test_random_networks_see_some_boxes_and_not_all() -> None:
    network = randomise(Yolo(0.125, classes=4, size=SIZE))
    with torch.no_grad():
        rows = network(torch.rand(2, 3, *SIZE))
    scores = (rows[..., 4:5] * rows[..., 5:]).amax(-1)
    assert 0 < (scores > 0.35).float().mean() < 0.5


def test_every_part_is_there_or_said_to_be_missing() -> None:
    machine = this_machine()
    assert set(machine.parts) == set(PARTS)
    assert machine.parts["torch"] == torch.__version__
    lines = machine.lines()
    for part, state in machine.parts.items():
        assert state[0].isdigit() or any(line.startswith(f"missing: {part} (") for line in lines)


def test_the_table_shows_outcomes_reasons_and_figures() -> None:
    machine = Machine("NVIDIA Test 9000", "9.0", "3.12.1", {"torch": "2.13.0", "tensorrt": "ModuleNotFoundError: no"})
    results = [Result("a", "passed", 1.25, "", {"boxes": 7}), Result("long", "skipped", 0.0, "no TensorRT")]
    assert table(machine, results) == [
        "NVIDIA Test 9000, compute capability 9.0; Python 3.12.1; torch 2.13.0",
        "missing: tensorrt (building and running .engine files): ModuleNotFoundError: no",
        "",
        "passed      1.2 s  a     boxes 7",
        "skipped     0.0 s  long  no TensorRT",
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_every_test_is_skipped_with_the_reason(repo_root: Path, tmp_path: Path) -> None:
    results = tmp_path / "tests.json"
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-m", "gpu", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--gpu-json", str(results)], check=False, cwd=repo_root, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(results.read_text())
    assert document["machine"]["gpu"] == "" and document["machine"]["parts"]["torch"] == torch.__version__
    outcomes = {(test["outcome"], test["reason"]) for test in document["tests"]}
    assert outcomes == {("skipped", "no NVIDIA GPU that torch can use")}
    assert "no CUDA device; Python" in done.stdout
