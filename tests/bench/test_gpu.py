"""The GPU measurements, on the CPU and for a moment only: what they write, not how fast it is."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed; `make torch` installs it")

import torch

from bench.gpu import main


def test_engine_service_and_decoding_are_measured_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--device", "cpu", "--precisions", "fp32", "--width", "0.125", "--size", "64"]
    code = main([*small, "--batches", "1", "2", "--seconds", "0.1", "--out", str(tmp_path)])
    shown = capsys.readouterr()
    assert code == 0, shown.out + shown.err
    document = json.loads((tmp_path / "bench.json").read_text())
    measured = [(figure["what"], figure["how"], figure["batch"]) for figure in document["figures"]]
    assert measured[:4] == [
        ("engine", "fp32", 1),
        ("engine", "fp32", 2),
        ("service", "fp32", 1),
        ("service", "fp32", 2),
    ]
    assert measured[4] == ("decode", "CPU, 1 thread", 1)
    assert all(figure["frames_s"] > 0 and figure["p50_ms"] <= figure["p95_ms"] for figure in document["figures"])
    table = (tmp_path / "bench.md").read_text()
    assert table.count("| engine | fp32 |") == 2
    assert document["machine"]["parts"]["torch"] == torch.__version__


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("bench-gpu: no CUDA device") and error.count("\n") == 1


def test_a_model_that_does_not_load_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--device", "cpu", "--model", str(tmp_path / "no.torchscript"), "--out", str(tmp_path)])
    assert code == 1
    assert "no.torchscript does not exist" in capsys.readouterr().err
