import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.fleet import Fleet
from deploy.preflight import preflight
from tests.deploy.fleets import MACHINE, fleet_of


@pytest.fixture
def fleet(tmp_path: Path, free_port: Callable[[], int]) -> Fleet:
    """One instance on a machine that has everything."""
    nginx, model = tmp_path / "nginx", tmp_path / "model.onnx"
    nginx.touch(0o755)
    model.touch()
    machine = replace(MACHINE, nginx=nginx)
    return fleet_of(1, port=free_port(), instance_port=free_port(), model=str(model), machine=machine)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def words(fleet: Fleet, own_ports: frozenset[int] = frozenset()) -> list[str]:
    return [str(problem) for problem in preflight(fleet, own_ports)]


def test_a_machine_that_has_everything_is_fine(fleet: Fleet) -> None:
    assert words(fleet) == []


def test_a_taken_port_is_told_with_its_owner(fleet: Fleet, taken_port: int) -> None:
    name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    taken = replace(fleet, balancer=replace(fleet.balancer, port=taken_port))
    assert words(taken) == [
        f"port {taken_port}: already taken by {name}, pid {os.getpid()}; free it or choose another port"
    ]


def test_a_port_of_the_running_fleet_is_as_good_as_free(fleet: Fleet, taken_port: int) -> None:
    taken = replace(fleet, balancer=replace(fleet.balancer, port=taken_port))
    assert words(taken, frozenset({taken_port})) == []


def test_everything_missing_is_told_at_once(fleet: Fleet, tmp_path: Path) -> None:
    nowhere = replace(fleet, model="/nowhere/m.onnx", machine=replace(MACHINE, nginx=tmp_path))
    assert words(nowhere) == [
        f"nginx: not found ({tmp_path}); install it: apt-get install nginx-light",
        "model /nowhere/m.onnx: no such file, or not readable; run `make setup` or name another model",
    ]


def test_a_simulated_model_is_no_file(fleet: Fleet) -> None:
    assert words(replace(fleet, model="simulated:a_ms=2")) == []


def test_a_file_of_keys_that_is_not_there_is_told_once(
    tmp_path: Path, free_port: Callable[[], int], fleet: Fleet
) -> None:
    environ = {"FRAMEFLEET_KEYS": "var/keys"}
    machine = replace(fleet.machine, cwd=tmp_path)
    ports = {"port": free_port(), "instance_port": free_port()}
    wanted = fleet_of(1, **ports, model="simulated:", machine=machine, environ=environ)
    assert words(wanted) == [
        f"FRAMEFLEET_KEYS {tmp_path}/var/keys: no such file, or not readable; `make key NAME=...` makes one"
    ]
