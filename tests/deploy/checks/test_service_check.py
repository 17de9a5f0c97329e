"""The service itself judges settings, keys and models, from wherever it is asked."""

import json
from pathlib import Path

import onnxruntime
import pytest

from deploy.checks.service_check import Scope, service_problems
from deploy.fleet import Code
from deploy.machine import run
from deploy.machine.command import Outcome
from tests.deploy.fleets import CODE, fleet_of

HERE = run.this_code()


def words(model: str = "simulated:a_ms=2", scope: Scope = "all", **settings: str) -> list[str]:
    environ = {f"FRAMEFLEET_{name.upper()}": value for name, value in settings.items()}
    fleet = fleet_of(2, model=model, environ=environ)
    return [str(problem) for problem in service_problems(fleet, HERE, run.run_command, scope=scope)]


def test_a_right_fleet_has_no_problem(default_model: Path) -> None:
    assert words() == words(str(default_model), conf="0.5") == []


def test_everything_that_is_wrong_is_said_once_in_the_services_own_words(tmp_path: Path) -> None:
    assert words("/nowhere/m.onnx", conf="7", qeue_size="7", allow="all", keys=f"{tmp_path}/keys") == [
        "FRAMEFLEET_CONF: 7 is outside 0 to 1; correct it",
        "FRAMEFLEET_QEUE_SIZE: no such setting; did you mean FRAMEFLEET_QUEUE_SIZE?",
        "FRAMEFLEET_ALLOW: 'all' does not appear to be an IPv4 or IPv6 network; write such as 10.0.0.10,10.0.1.0/24",
        f"FRAMEFLEET_KEYS: {tmp_path}/keys: No such file or directory; `make key NAME=...` makes one",
        "FRAMEFLEET_MODEL: /nowhere/m.onnx does not exist; `make setup` and `make model` put models there",
    ]


def test_files_on_another_machine_are_left_out() -> None:
    assert words("/nowhere/m.onnx", "settings", keys="/nowhere/keys", conf="7") == [
        "FRAMEFLEET_CONF: 7 is outside 0 to 1; correct it"
    ]


@pytest.mark.parametrize("kind", ["truncated", "no manifest", "broken manifest", "no model at all", "a folder"])
@pytest.mark.parametrize("suffix", [".onnx", ".torchscript", ".engine"])
def test_a_model_that_will_not_do_is_found(kind: str, suffix: str, tmp_path: Path, default_model: Path) -> None:
    model = tmp_path / f"model{suffix}"
    model.write_bytes(default_model.read_bytes()[:1000])
    manifest = json.loads(default_model.with_suffix(".json").read_text())
    model.with_suffix(".json").write_text("{}" if kind == "broken manifest" else json.dumps(manifest))
    if kind == "no manifest":
        model.with_suffix(".json").unlink()
    if kind in ("no model at all", "a folder"):
        model.unlink()
    if kind == "a folder":
        model.mkdir()
    (problem,) = words(str(model), "files")
    assert problem.startswith("FRAMEFLEET_MODEL: ") and str(tmp_path) in problem


def test_a_device_that_is_not_there_is_found_where_it_has_to_be(default_model: Path) -> None:
    offered = onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" in offered:
        pytest.skip("this ONNX Runtime has one")
    (problem,) = words(str(default_model), device="cuda")
    assert problem.startswith("FRAMEFLEET_DEVICE: cuda: this ONNX Runtime has no CUDAExecutionProvider")
    assert words(str(default_model), "files", device="cuda") == []


def test_a_plugin_that_is_not_there_is_found(tmp_path: Path, default_model: Path) -> None:
    model = tmp_path / "model.engine"
    model.write_bytes(default_model.read_bytes())
    model.with_suffix(".json").write_bytes(default_model.with_suffix(".json").read_bytes())
    (problem,) = words(str(model), "files", plugin="/nowhere/plugin.so", trust_any_path="1")
    assert problem.startswith("FRAMEFLEET_PLUGIN: /nowhere/plugin.so cannot be loaded")
    (problem,) = words(str(model), "all", device="cpu")
    assert problem.startswith("FRAMEFLEET_DEVICE: cpu cannot run an .engine file")


def test_neither_the_folder_nor_the_environment_it_is_asked_from_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "__init__.py").write_text("raise SystemExit('another service')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("FRAMEFLEET_CONF", "7")
    assert words() == []


def test_a_service_that_breaks_down_is_no_silent_yes() -> None:
    broken = Code(CODE.repo, HERE.python)
    (problem,) = service_problems(fleet_of(1), broken, run.run_command)
    assert str(problem).startswith("service: its own check fails: ImportError: No module named service")
    (problem,) = service_problems(fleet_of(1), CODE, lambda command: Outcome(-9, ""))
    assert str(problem) == "service: its own check fails: it ended with code -9; run `make setup` again"


def test_keys_that_cannot_be_read_are_found(tmp_path: Path) -> None:
    assert words(keys=str(tmp_path)) == [f"FRAMEFLEET_KEYS: {tmp_path}: Is a directory; `make key NAME=...` makes one"]
    (tmp_path / "keys").write_text("s3cret")
    (problem,) = words(keys=f"{tmp_path}/keys")
    assert problem.startswith(f"FRAMEFLEET_KEYS: {tmp_path}/keys:1: not name:sha256:scopes") and "s3cret" not in problem
