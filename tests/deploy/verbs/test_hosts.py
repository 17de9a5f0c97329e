"""The verbs that look at an inventory, from a checkout and on a host."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.describe.fleet_file import parse_inventory
from deploy.errors import SettingsError
from deploy.files.render import render
from deploy.machine import run
from deploy.machine.devices import devices_to_json
from deploy.machine.machine import Machine
from deploy.verbs.hosts import HostOptions, assumed_devices, find_fleets
from tests.deploy.inventories import TWO_GPUS, expanded, hosts

SIMULATED = '[model]\nfile = "simulated:"\n'


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def machine(said: list[str]) -> Machine:
    return Machine(say=said.append, environ={}, hostname="h2")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        # Nothing of this machine's own may be taken for a deployed host's.
        folders = f'[folders]\netc = "{tmp_path}/etc"\nstate = "{tmp_path}/state"\n'
        (tmp_path / "fleet.toml").write_text(folders + text)
        return tmp_path / "fleet.toml"

    return write


def test_every_host_is_expanded_and_those_elsewhere_by_assumption(
    write: Callable[[str], Path], machine: Machine, said: list[str]
) -> None:
    found = find_fleets(HostOptions(write(SIMULATED + hosts("gpus = [0, 1]", "cpu = 3"))), machine)
    assert [(host.name, host.here, len(host.fleet.instances)) for host in found] == [("h1", False, 2), ("h2", True, 3)]
    assert said == ["note: h1 is not this machine: its GPUs and CPUs are assumed; --devices FILE tells them"]


def test_one_host_is_chosen_by_name_or_by_being_here(write: Callable[[str], Path], machine: Machine) -> None:
    file = write(SIMULATED + hosts("cpu = 1", "cpu = 2"))
    (named,) = find_fleets(HostOptions(file, host="h1"), machine)
    (here,) = find_fleets(HostOptions(file, here=True), machine)
    assert (named.name, here.name, here.here) == ("h1", "h2", True)


def test_a_machine_that_names_itself_with_its_domain_is_found(write: Callable[[str], Path], machine: Machine) -> None:
    file = write(SIMULATED + hosts("cpu = 1", "cpu = 2"))
    (host,) = find_fleets(HostOptions(file, here=True), replace(machine, hostname="h2.example.org"))
    assert host.name == "h2"


def test_a_single_host_is_this_one_whatever_its_name(write: Callable[[str], Path], machine: Machine) -> None:
    (host,) = find_fleets(HostOptions(write(SIMULATED + hosts("cpu = 1")), here=True), machine)
    assert (host.name, host.here) == ("h1", True)


@pytest.mark.parametrize("options", [{"host": "h9"}, {"here": True}], ids=["named", "here"])
def test_an_unknown_host_is_told_with_those_there_are(
    write: Callable[[str], Path], machine: Machine, options: dict[str, object]
) -> None:
    file = write(SIMULATED + hosts("cpu = 1", "cpu = 1"))
    with pytest.raises(SettingsError, match="host h9: not in the inventory; there are: h1, h2"):
        find_fleets(HostOptions(file, **options), replace(machine, hostname="h9"))  # type: ignore[arg-type]


def test_devices_of_another_machine_are_taken_from_a_file(
    write: Callable[[str], Path], machine: Machine, tmp_path: Path
) -> None:
    devices = tmp_path / "h1.json"
    devices.write_text(devices_to_json(TWO_GPUS))
    (host,) = find_fleets(HostOptions(write(SIMULATED + hosts('gpus = "auto"')), "h1", devices), machine)
    assert [instance.device for instance in host.fleet.instances] == ["GPU-aaaa0000", "GPU-bbbb1111"]


def test_a_file_that_holds_no_devices_says_how_to_make_one(
    write: Callable[[str], Path], machine: Machine, tmp_path: Path
) -> None:
    file = write(SIMULATED + hosts("cpu = 1"))
    with pytest.raises(SettingsError, match=r"make it anew: ssh HOST .*/framefleet devices > HOST\.json"):
        find_fleets(HostOptions(file, "h1", file), machine)


def test_the_model_lies_below_its_hash(write: Callable[[str], Path], machine: Machine, tmp_path: Path) -> None:
    file = write('[model]\nfile = "m.onnx"\n' + hosts("cpu = 1"))
    (tmp_path / "m.onnx").write_bytes(b"model")
    (host,) = find_fleets(HostOptions(file), machine)
    digest = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4"
    assert host.fleet.model == f"{tmp_path}/state/models/{digest}/m.onnx"


def test_without_the_file_its_hash_is_needed(write: Callable[[str], Path], machine: Machine) -> None:
    digest = "a" * 64
    text = '[model]\nfile = "m.onnx"\n' + hosts("cpu = 1")
    with pytest.raises(SettingsError, match=r"model\.file: .*m\.onnx is not here; run `make setup`, or write its"):
        find_fleets(HostOptions(write(text)), machine)
    (host,) = find_fleets(HostOptions(write(text.replace("[model]", f'[model]\nsha256 = "{digest}"'))), machine)
    assert host.fleet.model.endswith(f"/models/{digest}/m.onnx")


def test_on_a_host_model_and_release_are_those_that_run(
    write: Callable[[str], Path], machine: Machine, tmp_path: Path
) -> None:
    text = '[model]\nfile = "m.onnx"\n' + hosts("cpu = 1")
    file = write(text)
    running = expanded(text, release="r7", model="/models/0f/m.onnx")
    paths = parse_inventory(file.read_text()).folders.paths
    run.write_files(paths.etc, render(running))
    (host,) = find_fleets(HostOptions(file, here=True), machine)
    assert (host.fleet.release, host.fleet.model) == ("r7", "/models/0f/m.onnx")


def test_assumed_gpus_keep_the_uuids_that_are_known_and_the_cpus_suffice() -> None:
    (host,) = parse_inventory(hosts('gpus = [1, "GPU-abcd"]\ncpus_per_instance = 4')).hosts
    devices = assumed_devices(host, cores=2)
    assert [(gpu.index, gpu.uuid) for gpu in devices.gpus] == [("1", "GPU-unknown-1"), ("91", "GPU-abcd")]
    assert len(devices.cpus) == 8
