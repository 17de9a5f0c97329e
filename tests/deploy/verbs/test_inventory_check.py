"""`config-check --fleet` says everything at once, in the names that fleet.toml has for it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.errors import CheckError, SettingsError
from deploy.machine.machine import Machine
from deploy.verbs.fleet_verbs import check_inventory
from deploy.verbs.hosts import HostOptions
from tests.deploy.inventories import hosts

Check = Callable[[str], list[str]]
MODEL = '[model]\nfile = "simulated:a_ms=2"\n'


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Problems of a fleet.toml, without the file's path; `here` is a host of the name of this machine."""

    def problems(text: str) -> list[str]:
        file = tmp_path / "fleet.toml"
        file.write_text(text)
        with pytest.raises((SettingsError, CheckError)) as caught:
            check_inventory(HostOptions(file), tmp_path / "build", Machine(say=lambda line: None, hostname="here"))
        assert not list((tmp_path / "build").glob("*"))
        return [str(problem).removeprefix(f"{file}: ") for problem in caught.value.problems]

    return problems


def test_one_list_has_them_all_and_each_once(check: Check) -> None:
    text = f"""
[model]
file = "nowhere.onnx"
[settings]
conf = 7
qeue_size = 3
deadline_ms = "soon"
[ports]
first = 80
last = 79
[tls]
certificate = "/nowhere/chain.pem"
key = "/nowhere/key.pem"
port = 80
[keys]
file = "/nowhere/keys"
{hosts("cpu = 99", "[hosts.settings]" + chr(10) + "iou = 5")}
[[hosts]]
name = "here"
cpu = 1
"""
    assert [problem.partition("; ")[0] for problem in check(text) if "model.file" not in problem] == [
        "settings.deadline_ms: 'soon' is not a number above 0",
        "hosts[0].cpu: 99 is outside 0-64",
        "ports.first: 80 is above ports.last, 79",
        "tls.port: 80 is balancer.port too",
        "keys.own: missing: a deploy asks each new instance about a picture, and needs a key for that",
        "settings.conf: 7 is outside 0 to 1",
        "settings.qeue_size: no such setting",
        "hosts[1].settings.iou: 5 is outside 0 to 1",
        "tls.certificate: /nowhere/chain.pem is not on this host, or not to be seen by you",
        "tls.key: /nowhere/key.pem is not on this host, or not to be seen by you",
        "keys.file: /nowhere/keys is not on this host, or not to be seen by you",
    ]
    assert [problem for problem in check(text) if re.match(r"model\.file: .*nowhere\.onnx is not here", problem)]


def test_what_the_service_says_comes_without_its_own_names(check: Check) -> None:
    problems = check(MODEL + "[settings]\nqeue_size = 3\n" + hosts("cpu = 1"))
    assert problems == ["settings.qeue_size: no such setting; did you mean queue_size?"]


@pytest.mark.parametrize("kind", ["damaged", "without manifest", "of another hash"])
def test_a_model_that_will_not_do_is_said_with_its_key(
    kind: str, check: Check, tmp_path: Path, default_model: Path
) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(default_model.read_bytes()[: 1000 if kind == "damaged" else None])
    if kind != "without manifest":
        model.with_suffix(".json").write_text(json.dumps(json.loads(default_model.with_suffix(".json").read_text())))
    sha256 = f'sha256 = "{"0" * 64}"\n' if kind == "of another hash" else ""
    (problem,) = check(f'[model]\nfile = "m.onnx"\n{sha256}' + hosts("cpu = 1"))
    assert problem.startswith("model.sha256: " if sha256 else "model.file: ") and str(tmp_path / "m") in problem
    assert "FRAMEFLEET" not in problem


def test_a_misspelt_key_does_not_make_its_default_a_contradiction(check: Check) -> None:
    problems = check(MODEL + "[balancer]\nport = 8101\n[ports]\nfrist = 9000\nlast = 9010\n" + hosts("cpu = 1"))
    assert problems == ["ports.frist: no such key; did you mean 'first'?"]
    problems = check(MODEL + "[balancer]\nport = 8101\n[prots]\nfirst = 9000\n" + hosts("cpu = 1"))
    assert problems == ["prots: no such key; did you mean 'ports'?"]


def test_a_wrong_value_hides_no_contradiction_of_right_ones(check: Check) -> None:
    text = MODEL + '[system]\nuser = "no user"\n[balancer]\nport = 8101\n' + hosts("gpus = []", "cpu = 1")
    assert [problem.partition(":")[0] for problem in check(text)] == ["system.user", "hosts[0].gpus", "balancer.port"]


def test_without_a_host_the_rest_is_read_all_the_same(check: Check) -> None:
    assert [
        problem.partition(":")[0] for problem in check(MODEL + "[settings]\nconf = 7\n[balancer]\nport = 8101")
    ] == [
        "hosts",
        "balancer.port",
        "settings.conf",
    ]


def test_devices_that_a_host_does_not_have_are_said_for_every_host(check: Check, tmp_path: Path) -> None:
    problems = check(MODEL + '[[hosts]]\nname = "here"\naddress = "10.0.0.9"\ngpus = [7]\n' + hosts("cpu = 1"))
    assert [problem.partition(":")[0] for problem in problems] == ["hosts[0].gpus"]


def test_without_nginx_the_rest_is_said_too(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if none of the usual places had one.
    monkeypatch.setattr("deploy.machine.run.find_nginx", lambda search_path: Path("/nowhere/nginx"))
    problems = check(MODEL + "[settings]\nconf = 7\n" + hosts("cpu = 1"))
    assert [problem.partition(":")[0] for problem in problems] == ["settings.conf", "nginx"]
