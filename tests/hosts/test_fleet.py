"""Three serving hosts behind a fourth that balances: deployed, drained and lost, from here over ssh."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.fleet import wait_until
from tests.hosts.bundles import ROOT, release_of
from tests.hosts.cameras import cameras
from tests.hosts.lab import Lab
from tests.hosts.operator import Operator

SERVING = ("gpu1", "gpu2", "gpu3")
EDGE = "edge1"
FLEET = """
[model]
file = "simulated:a_ms=5,b_ms=1"
[settings]
threads = 1
[balancer]
mode = "edge"
hosts = ["edge1"]
"""
HOST = """
[[hosts]]
name = "{name}"
address = "{address}"
{runs}
"""
CAMERAS = 6
# What a machine lacks on which python3-venv was never installed.
VENV = "/usr/lib/python3.11/ensurepip"
SSH = "-o ControlMaster=no -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"


@dataclass(frozen=True, slots=True)
class Control:
    """The machine that a fleet is deployed from, which is this one.

    Attributes:
        folder: holds fleet.toml, and what the verbs write.
        key: opens the hosts.
        hosts: somebody at each of them, by name.
    """

    folder: Path
    key: Path
    hosts: dict[str, Operator]

    @property
    def url(self) -> str:
        """Where clients go."""
        return self.hosts[EDGE].url

    def run(self, verb: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs one of the verbs for all hosts, however that ends."""
        options = ("--fleet", str(self.folder / "fleet.toml"), "--out", str(self.folder / "build"))
        mine = {
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_PRIVATE_KEY_FILE": str(self.key),
            "ANSIBLE_SSH_ARGS": SSH,
        }
        return subprocess.run(
            [sys.executable, "-m", "deploy", verb, *arguments, *options],
            cwd=ROOT,
            env={**os.environ, **mine},
            capture_output=True,
            text=True,
            check=False,
        )

    def releases(self) -> dict[str, str]:
        """What each host serves."""
        return {name: host.release() for name, host in self.hosts.items()}

    def asked(self, name: str) -> int:
        """How many pictures a host's nginx was sent so far."""
        return int(self.hosts[name].machine.ssh("grep -c /v1/detect /var/log/framefleet/balancer-access.log || true"))

    def wait_until_asked(self, name: str) -> None:
        """Waits until a host gets pictures again."""
        before = self.asked(name)
        wait_until(f"{name} is asked", lambda: self.asked(name) > before)


@pytest.fixture(scope="module")
def fleet(
    machines: Lab, first_bundle: Path, second_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Control]:
    """Four hosts that serve the first release; each test leaves them so, or says what it leaves."""
    built = Operator(machines.machine("built"))
    built.machine.boot()
    for bundle in (first_bundle, second_bundle):
        built.build(bundle)
    built.machine.power_off()
    hosts = {name: Operator(machines.machine(name, like=built.machine)) for name in (EDGE, *SERVING)}
    for host in hosts.values():
        host.machine.switch_on()
    for host in hosts.values():
        host.machine.wait_until_up()

    control = Control(tmp_path_factory.mktemp("control"), machines.key, hosts)
    listed = [
        HOST.format(name=name, address=host.machine.address, runs="gpus = []" if name == EDGE else "cpu = 2")
        for name, host in hosts.items()
    ]
    (control.folder / "fleet.toml").write_text(FLEET + "".join(listed))
    done = control.run("deploy-fleet", "--bundle", str(first_bundle))
    assert done.returncode == 0, done.stdout + done.stderr
    yield control
    for host in hosts.values():
        host.machine.remove()


def test_the_balancer_sends_pictures_to_every_host(fleet: Control, first_bundle: Path, picture: bytes) -> None:
    assert set(fleet.releases().values()) == {release_of(first_bundle)}
    with cameras(fleet.url, picture=picture, count=CAMERAS) as load:
        for name in SERVING:
            fleet.wait_until_asked(name)
    assert load.failures == []


def test_a_drained_host_gets_no_picture_and_no_request_is_lost(fleet: Control, picture: bytes) -> None:
    with cameras(fleet.url, picture=picture, count=CAMERAS) as load:
        fleet.wait_until_asked("gpu2")
        done = fleet.run("drain-fleet", "gpu2")
        assert done.returncode == 0, done.stdout + done.stderr
        load.wait_for_those_under_way()
        before = fleet.asked("gpu2")
        fleet.hosts["gpu2"].machine.reboot()
        load.wait_for(100)
        assert fleet.asked("gpu2") == before
        done = fleet.run("undrain-fleet", "gpu2")
        assert done.returncode == 0, done.stdout + done.stderr
        fleet.wait_until_asked("gpu2")
    assert load.failures == []


def test_a_host_that_dies_costs_what_was_in_flight_on_it_at_most(
    fleet: Control, first_bundle: Path, picture: bytes, figures: list[str]
) -> None:
    with cameras(fleet.url, picture=picture, count=CAMERAS) as load:
        fleet.wait_until_asked("gpu3")
        fleet.hosts["gpu3"].machine.power_cut()
        load.wait_for(200)
        # One that was in flight there may take until its camera gives up.
        load.wait_for_those_under_way()
        lost = len(load.failures)
        fleet.hosts["gpu3"].machine.boot()
        fleet.hosts["gpu3"].wait_until_serving(first_bundle)
        fleet.wait_until_asked("gpu3")
    figures.append(f"a host of three dies under {CAMERAS} cameras: {lost} of {len(load.answers)} requests lost")
    # A camera has one request on its way.
    assert len(load.failures) == lost <= CAMERAS


def test_a_deploy_stops_at_the_first_host_that_fails_and_goes_on_when_that_is_mended(
    fleet: Control, first_bundle: Path, second_bundle: Path, picture: bytes
) -> None:
    unprepared = fleet.hosts["gpu2"].machine
    unprepared.ssh(f"mv {VENV} {VENV}.away")
    with cameras(fleet.url, picture=picture, count=CAMERAS) as load:
        stopped = fleet.run("deploy-fleet", "--bundle", str(second_bundle))
        assert stopped.returncode == 1, stopped.stdout + stopped.stderr
        assert "cannot make a venv; apt-get install python3-venv" in stopped.stdout
        old, new = release_of(first_bundle), release_of(second_bundle)
        served = {
            name: host.machine.ssh("readlink /opt/framefleet/current").strip() for name, host in fleet.hosts.items()
        }
        assert {name: Path(path).name for name, path in served.items()} == {
            "gpu1": new,
            "gpu2": old,
            "gpu3": old,
            EDGE: old,
        }

        unprepared.ssh(f"mv {VENV}.away {VENV}")
        done = fleet.run("deploy-fleet", "--bundle", str(second_bundle), "--batch", "2")
        assert done.returncode == 0, done.stdout + done.stderr
        assert {name: fleet.hosts[name].release() for name in SERVING} == dict.fromkeys(SERVING, new)
        load.wait_for(CAMERAS)

        back = fleet.run("rollback-fleet")
        assert back.returncode == 0, back.stdout + back.stderr
        assert {name: fleet.hosts[name].release() for name in SERVING} == dict.fromkeys(SERVING, old)
        load.wait_for(CAMERAS)
    assert load.failures == []
