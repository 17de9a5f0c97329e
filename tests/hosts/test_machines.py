"""The machines themselves: what the other tests of this folder rely on."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.fleet import ROOT, wait_until
from tests.hosts.cgroups import groups_like, members
from tests.hosts.debian import cache_folder
from tests.hosts.lab import Lab, clear_away_leftovers
from tests.hosts.machines import Machine

# Another run of the tests, which never gets to its end.
OTHER_RUN = """
import time
from tests.hosts.debian import cache_folder
from tests.hosts.lab import lab
with lab(cache_folder()) as place:
    place.machine("orphan").boot()
    print("booted", flush=True)
    time.sleep(600)
"""
OUTSIDE = "192.0.2.2"  # an address that is on no network of theirs


@pytest.fixture(scope="module")
def pair(machines: Lab) -> Iterator[tuple[Machine, Machine]]:
    first, second = machines.machine("first"), machines.machine("second")
    for machine in (first, second):
        machine.switch_on()
    for machine in (first, second):
        machine.wait_until_up()
    yield first, second
    for machine in (first, second):
        machine.remove()


def test_machines_have_their_own_names_and_reach_each_other(pair: tuple[Machine, Machine]) -> None:
    first, second = pair
    assert first.ssh("hostname").strip() == "first"
    assert "SSH" in first.ssh(f"timeout 60 bash -c 'head -1 </dev/tcp/{second.address}/22'")


def test_machines_reach_nothing_else(pair: tuple[Machine, Machine]) -> None:
    first, _ = pair
    assert [line.split()[0] for line in first.ssh("ip route").splitlines()] == [
        first.address.rpartition(".")[0] + ".0/24"
    ]
    assert "unreachable" in first.run(f"bash -c ': </dev/tcp/{OUTSIDE}/80'").stderr


def test_each_machine_sees_its_own_services_only(pair: tuple[Machine, Machine]) -> None:
    first, second = pair
    first.ssh("systemd-run --unit=mine sleep infinity")
    assert first.ssh("systemctl is-active mine").strip() == "active"
    assert second.run("systemctl is-active mine").stdout.strip() == "inactive"
    assert "sleep infinity" not in second.ssh("ps -e -o args")


def test_files_survive_a_reboot_and_a_power_cut_but_processes_do_not(
    pair: tuple[Machine, Machine], tmp_path: Path
) -> None:
    machine, _ = pair
    (tmp_path / "note").write_text("kept")
    machine.push(tmp_path / "note", "/root/note")
    machine.ssh("systemd-run --unit=lost sleep infinity")
    machine.reboot()
    assert machine.ssh("cat /root/note; systemctl is-active lost || true") == "keptinactive\n"
    machine.power_cut()
    assert machine.run("true").returncode != 0
    machine.boot()
    assert machine.ssh("cat /root/note") == "kept"


def test_a_copy_of_a_machine_begins_with_its_files(machines: Lab) -> None:
    original = machines.machine("original")
    original.boot()
    original.ssh("echo original >/root/note")
    original.power_off()
    copy = machines.machine("copy", like=original)
    copy.boot()
    copy.ssh("echo changed >>/root/note")
    assert copy.ssh("hostname; cat /root/note") == "copy\noriginal\nchanged\n"
    assert (original.disk / "root/note").read_text() == "original\n"


def test_nothing_is_left_of_a_machine_that_was_removed(machines: Lab) -> None:
    machine = machines.machine("gone")
    machine.boot()
    assert machine.container in _traces()
    machine.remove()
    assert machine.container not in _traces()


def test_machines_die_with_a_run_that_is_killed_and_the_next_run_clears_away_the_rest() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", OTHER_RUN], stdout=subprocess.PIPE, text=True, env=environment
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "booted\n"
        other.kill()
    bridge = f"ffh{other.pid}"
    wait_until("the machine is dead", lambda: f"{bridge}-2" not in _traces("ps -e -o args; ip -o link"))
    # Its last processes may still be ending, and a group with one in it cannot be removed.
    wait_until("its groups are empty", lambda: not members(groups_like(f"{bridge}*")))
    assert bridge in _traces()
    clear_away_leftovers(cache_folder())
    assert bridge not in _traces()
    assert not (cache_folder() / "machines" / str(other.pid)).exists()


def _traces(where: str = "ip -o link; cat /proc/mounts; find /sys/fs/cgroup; ps -e -o args") -> str:
    return subprocess.run(["sh", "-c", where], capture_output=True, text=True, check=True).stdout
