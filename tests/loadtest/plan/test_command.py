"""`plan` and `simulate` answer from files, and say what is wrong in one line."""

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.capacity import records
from loadtest.capacity.records import Capacity
from loadtest.errors import OptionError, RunError
from loadtest.measure import run_folder
from loadtest.plan import command
from tests.loadtest.capacity.builders import batch_fit, capacity, provenance
from tests.loadtest.plan.test_agreement import as_simulated

GPU = provenance(engine={"kind": "tensorrt", "device": "cuda:0", "max_batch": 8, "note": ""})


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder, paths = tmp_path_factory.mktemp("measured"), []
    for number, found in enumerate(_fleets()):
        path = folder / f"{number}.json"
        run_folder.write(found, path)
        paths.append(str(path))
    return paths


def _fleets() -> list[Capacity]:
    return [capacity(30.0 * n, instances=n, batch=batch_fit(), source=GPU) for n in (1, 2)]


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


def test_a_plan_that_holds_in_a_credible_simulation_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_folder.write(as_simulated(capacity(30.0, batch=batch_fit(), source=GPU)), tmp_path / records.FILE)
    assert command.run_simulate(parsed(str(tmp_path), "--streams", "10", "--fps", "5")) == 0
    out = capsys.readouterr().out
    assert "a host fails after 20 s: holds\n" in out
    assert "simulated and measured fleet agree at" in out
    assert "NOT CREDIBLE" not in out


def test_a_plan_is_not_said_to_hold_by_a_simulation_of_another_fleet(
    measured: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run_simulate(parsed(*measured, "--streams", "10", "--fps", "5")) == 1
    out = capsys.readouterr().out
    assert "holds\n" not in out
    assert "agree at 0 of" in out
    assert out.splitlines()[-1].startswith("NOT CREDIBLE: the simulated fleet is not like the measured one")


def test_a_simulation_without_a_rate_to_compare_is_not_credible(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = capacity(30.0, batch=batch_fit(), source=GPU)
    rows = tuple(replace(one, in_time=0.5) for one in found.rows)
    run_folder.write(replace(found, rows=rows), tmp_path / records.FILE)
    assert command.run_simulate(parsed(str(tmp_path), "--streams", "10", "--fps", "5")) == 1
    out = capsys.readouterr().out
    assert "no measured step to hold the simulation against" in out
    assert "NOT CREDIBLE" in out


def test_a_typed_batch_cost_makes_a_plan_for_gpus_of_a_cpu_measurement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder.write(capacity(60.0, instances=2), tmp_path / records.FILE)
    wanted = (str(tmp_path), "--streams", "400", "--fps", "25", "--batch-ms", "4 + 1.2n", "--gpu-price", "2")
    assert command.run_plan(parsed(*wanted)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"\d+ hosts with \d+ GPUs for 400 streams", lines[0])
    assert (
        lines[1] == "typed       a batch of n frames takes 4 + 1.2n ms, at most 8 frames at once; nothing was measured"
    )
    assert any(line.startswith("cost") for line in lines)
    assert any("typed, not measured here" in line for line in lines)


def test_a_typed_batch_cost_needs_no_measurement_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = (str(tmp_path / "none.json"), "--streams", "100", "--fps", "5", "--batch-ms", "5")
    assert command.run_simulate(parsed(*wanted)) == 0
    out = capsys.readouterr().out
    assert "no measurement given: pictures of 100 kB" in out
    assert out.endswith("not held against a measurement: the cost of a batch was typed\n")


@pytest.mark.parametrize("verb", [command.run_plan, command.run_simulate])
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--fps", "1e-6"), "--fps=1e-06: must be from 0.0001"),
        (("--fps", "nan"), "--fps=nan"),
        (("--streams", "1000000000000"), "--streams=1000000000000"),
        (("--streams", "9" * 400), "--streams=9{24}: must be"),
        (("--p95-ms", "inf"), "--p95-ms=inf"),
        (("--target", "0"), "--target=0.0"),
        (("--max-batch", "8"), "--max-batch=8: no effect without --batch-ms"),
        (("--max-batch", "0", "--batch-ms", "5"), "--max-batch=0"),
        (("--batch-ms", "quick"), '--batch-ms="quick": write'),
        (("--frame-kb", "0"), "--frame-kb=0.0"),
        (("--instances-per-host", "0"), "--instances-per-host=0"),
        (("--gpus-per-host", "0", "--gpu-price", "2"), "--gpu-price=2"),
        (("--nic-gbps", "1e-300"), "--nic-gbps=1e-300"),
    ],
)
def test_senseless_options_are_refused(
    measured: list[str], verb: Callable[[argparse.Namespace], int], options: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(OptionError, match=complaint):
        verb(parsed(*measured, "--streams", "10", "--fps", "5", *options))


def test_more_than_can_be_simulated_is_refused(tmp_path: Path) -> None:
    wanted = ("--streams", "100000", "--fps", "30", "--batch-ms", "5", "--nic-gbps", "10000")
    with pytest.raises(OptionError, match=r"frames/s behind one balancer: a simulation takes up to 500,000"):
        command.run_simulate(parsed(str(tmp_path / "none"), *wanted))


def test_a_little_is_not_said_to_be_nothing(measured: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command.run_plan(parsed(*measured, "--streams", "1", "--fps", "0.0001"))
    out = capsys.readouterr().out
    assert "network     under 0.001 Gbit/s towards the hosts; under 0.1 CPU cores busy" in out
    assert "rate        0.0001 frames/s" in out


def test_a_typed_cost_takes_one_measurement(measured: list[str]) -> None:
    with pytest.raises(OptionError, match="give one file, or none"):
        command.run_plan(parsed(*measured, "--streams", "1", "--fps", "1", "--batch-ms", "5"))


def test_larger_pictures_need_more_network(measured: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command.run_plan(parsed(*measured, "--streams", "10", "--fps", "5", "--frame-kb", "500"))
    out = capsys.readouterr().out
    # 50 frames/s of 500 kB.
    assert "network     0.200 Gbit/s" in out
    assert "--frame-kb=500: changes the network's part alone" in out


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
    assert out.startswith("4 CPU-only hosts for 20 streams")
    assert "measured    a CPU fleet: 2 instances of centerface-320 (onnxruntime, cpu) on 2 cores held" in out
    assert "GPU hosts   not from this measurement" in out
    assert "a host      2 instances, no GPU, 2 cores" in out


def test_hosts_with_more_cores_than_the_measured_one_take_more_instances(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder.write(capacity(60.0, instances=2), tmp_path / records.FILE)
    command.run_plan(parsed(str(tmp_path), "--streams", "20", "--fps", "5", "--cores-per-host", "8"))
    out = capsys.readouterr().out
    assert out.startswith("2 CPU-only hosts for")
    assert "warning: a host of 8 cores is taken to hold 4 times the measured one" in out
