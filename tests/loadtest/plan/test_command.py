"""`plan` and `simulate` answer from files, and say what is wrong in one line."""

import argparse
import json
from pathlib import Path

import pytest

from loadtest import run_folder
from loadtest.capacity import records
from loadtest.capacity.records import Capacity
from loadtest.errors import OptionError, RunError
from loadtest.plan import command
from tests.loadtest.capacity.builders import batch_fit, capacity, provenance


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture
def measured(tmp_path: Path) -> list[str]:
    paths = []
    for number, found in enumerate(_fleets()):
        path = tmp_path / f"{number}.json"
        run_folder.write(found, path)
        paths.append(str(path))
    return paths


def _fleets() -> list[Capacity]:
    engine = {"kind": "tensorrt", "device": "cuda:0", "max_batch": 8, "note": ""}
    return [capacity(30.0 * n, instances=n, batch=batch_fit(), source=provenance(engine=engine)) for n in (1, 2)]


def test_the_plan_is_printed_answer_first(measured: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run_plan(parsed(*measured, "--streams", "10", "--fps", "5")) == 0
    lines = capsys.readouterr().out.splitlines()
    # 50 frames/s at 70 % of about 30.5 each: three instances, one to a host, and a spare.
    assert lines[0] == ("4 hosts with 4 GPUs for 10 streams at 5 frames/s within 100 ms (p95), any one host may fail.")
    assert any(line.startswith("saturates   instances first") for line in lines)


def test_the_plan_is_written_for_machines_too(measured: list[str], tmp_path: Path) -> None:
    target = tmp_path / "plan.json"
    command.run_plan(parsed(*measured, "--streams", "10", "--fps", "5", "--out", str(target), "--gpu-price", "2"))
    document = json.loads(target.read_text())
    assert (document["hosts"], document["cost"]) == (4, 8.0)


def test_a_plan_that_holds_in_simulation_passes(measured: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run_simulate(parsed(*measured, "--streams", "10", "--fps", "5")) == 0
    out = capsys.readouterr().out
    assert "a host fails after 20 s: holds" in out
    assert "simulated and measured fleet" in out


def test_a_plan_that_does_not_hold_in_simulation_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The curve promises 30 frames/s, the engine's own times allow 8.
    run_folder.write(capacity(30.0, instances=1, batch=batch_fit(120, 120)), tmp_path / records.FILE)
    assert command.run_simulate(parsed(str(tmp_path), "--streams", "10", "--fps", "5")) == 1
    assert "DOES NOT HOLD" in capsys.readouterr().out


def test_a_missing_measurement_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="make one with `make capacity`"):
        command.run_plan(parsed(str(tmp_path / "none.json"), "--streams", "1", "--fps", "1"))


def test_a_senseless_demand_is_an_option_error(measured: list[str]) -> None:
    with pytest.raises(OptionError, match="--streams=-1"):
        command.run_plan(parsed(*measured, "--streams", "-1", "--fps", "1"))


def test_instances_follow_the_gpus_of_a_host(measured: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command.run_plan(parsed(*measured, "--streams", "10", "--fps", "5", "--gpus-per-host", "4"))
    assert capsys.readouterr().out.startswith("2 hosts with 8 GPUs")
    command.run_plan(parsed(*measured, "--streams", "10", "--fps", "5", "--gpus-per-host", "0"))
    # As many instances on a host as were measured on one: two.
    assert capsys.readouterr().out.startswith("3 hosts for")


def test_what_was_measured_on_cpus_is_planned_on_hosts_like_that_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder.write(capacity(60.0, instances=2), tmp_path / records.FILE)
    command.run_plan(parsed(str(tmp_path), "--streams", "20", "--fps", "5"))
    out = capsys.readouterr().out
    # 100 frames/s at 70 % of about 60 a host.
    assert out.startswith("4 hosts for 20 streams")
    assert "2 on a host" in out
