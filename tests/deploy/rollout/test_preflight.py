import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.fleet import Fleet
from deploy.machine.command import Outcome, Runner
from deploy.machine.machine import Machine
from deploy.rollout.preflight import port_problem, preflight
from framefleet.machine.listening import try_to_listen
from tests.deploy.fleets import MACHINE, fleet_of
from tests.deploy.recorded import recorded
from tests.users import NOBODY, as_root, as_user


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


def machine_that(run: Runner) -> Machine:
    """Commands are answered; ports are this machine's own."""
    return recorded({"run": run, "try_to_listen": try_to_listen})


def words(fleet: Fleet, own_ports: frozenset[int] = frozenset()) -> list[str]:
    return [str(problem) for problem in preflight(fleet, own_ports, machine_that(lambda command: Outcome(0, "")))]


def test_a_machine_that_has_everything_is_fine(fleet: Fleet) -> None:
    assert words(fleet) == []


def test_a_taken_port_is_told_with_its_owner(fleet: Fleet, taken_port: int) -> None:
    name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    taken = replace(fleet, balancer=replace(fleet.balancer, port=taken_port))
    assert words(taken) == [
        f"port {taken_port}: already taken by {name}, pid {os.getpid()}; free it or choose another port"
    ]


def test_an_address_of_another_machine_is_not_called_taken(fleet: Fleet) -> None:
    foreign = replace(fleet, balancer=replace(fleet.balancer, host="192.0.2.1"))
    assert words(foreign) == [
        "address 192.0.2.1: 192.0.2.1 is no address of this machine; choose one that `ip address` lists, or 127.0.0.1"
    ]


@pytest.mark.parametrize(("module", "told"), [("--with-http_auth_request_module", 0), ("--with-http_v2_module", 1)])
def test_keys_need_an_nginx_that_can_ask_about_them(fleet: Fleet, module: str, told: int) -> None:
    def run(command: object) -> Outcome:
        return Outcome(0, f"configure arguments: {module}" if "-V" in command else "")  # type: ignore[operator]

    locked = replace(fleet, balancer=replace(fleet.balancer, by_key=True))
    found = [str(problem) for problem in preflight(locked, frozenset(), machine_that(run))]
    assert len(found) == told and all("auth_request" in problem and "apt-get" in problem for problem in found)
    assert list(preflight(fleet, frozenset(), machine_that(run))) == []


@as_root
def test_a_port_for_root_alone_is_not_called_taken() -> None:
    assert as_user(NOBODY, lambda: str(port_problem("127.0.0.1", 80, Machine(print)))) == (
        "port 80: only root may listen on port 80; "
        "choose a port from 1024 on, or `sudo sysctl net.ipv4.ip_unprivileged_port_start=80`"
    )


def test_a_port_of_the_running_fleet_is_as_good_as_free(fleet: Fleet, taken_port: int) -> None:
    taken = replace(fleet, balancer=replace(fleet.balancer, port=taken_port))
    assert words(taken, frozenset({taken_port})) == []


def test_everything_missing_is_told_at_once(fleet: Fleet, tmp_path: Path, taken_port: int) -> None:
    nowhere = replace(
        fleet, balancer=replace(fleet.balancer, port=taken_port), machine=replace(MACHINE, nginx=tmp_path)
    )
    complaint = Outcome(78, "FRAMEFLEET_MODEL: /nowhere/m.onnx does not exist; run `make setup`\n")
    where, service, port = (
        str(problem) for problem in preflight(nowhere, frozenset(), machine_that(lambda command: complaint))
    )
    assert where == f"nginx: not found ({tmp_path}); install it: apt-get install nginx-light"
    assert service == "FRAMEFLEET_MODEL: /nowhere/m.onnx does not exist; run `make setup`"
    assert port.startswith(f"port {taken_port}: already taken")
