"""Fleets are tried with real parts, for a moment only: what is said, not how fast they are."""

import os
import re
from pathlib import Path

import pytest

from bench.tune import main, placements
from deploy.machine.processes import fleet_processes
from deploy.paths import local_paths


def test_every_placement_is_tried_and_one_advised(
    tmp_path: Path, sample_video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brief = ["--rounds=1", "--seconds=1", "--clients=4", "--max-frames=5"]
    assert main([*brief, "--model=simulated:a_ms=1", f"--video={sample_video}", f"--var={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    for placement in placements(len(os.sched_getaffinity(0))):
        (row,) = re.findall(rf"^{placement} +([0-9.]+) +([0-9.]+) +([0-9]+)$", shown, re.MULTILINE)
        assert all(float(figure) > 0 for figure in row)
    assert "on this machine: make up INSTANCES=" in shown
    assert not fleet_processes(local_paths(tmp_path / "tune" / "fleet"))


def test_a_model_that_does_not_start_is_said_as_up_says_it(
    tmp_path: Path, sample_video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model=/nowhere.onnx", f"--video={sample_video}", f"--var={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert "tune: the fleet to try did not go up:\n" in error
    assert "/nowhere.onnx" in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seconds=0"], "tune: --seconds=0: must be from 1 to 600\n"),
        (["--rounds=0"], "tune: --rounds=0: must be from 1 to 20\n"),
        (["--clients=-1"], "tune: --clients=-1: must be from 0 to 1000\n"),
        (["--seconds=nan"], "tune: --seconds=nan: must be from 1 to 600\n"),
    ],
)
def test_a_wrong_option_is_named_with_its_limits(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, f"--var={tmp_path}"]) == 2
    assert capsys.readouterr().err == said


def test_a_video_that_is_not_there_is_said_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--video=/nowhere.mp4", f"--var={tmp_path}"]) in (1, 2)
    assert "/nowhere.mp4" in capsys.readouterr().err
