"""One host, from a fresh machine to none: deploy, again, another release, back, reboot, undeploy."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.fleet import wait_until
from tests.hosts.bundles import BundleMaker, release_of
from tests.hosts.cameras import Cameras, cameras
from tests.hosts.lab import Lab
from tests.hosts.operator import KIT, Operator

# Quiet before and after a change, so that there is something to compare it with.
CALM = 100
LISTING = "find / -xdev -path /proc -prune -o -path /sys -prune -o -path /run -prune -o -path /tmp -prune -o -print"
# What any use of a machine leaves there.
EXPECTED_TRACES = ("/var/log/", "/root/", "/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/var/tmp/")


def test_a_fresh_machine_without_a_network_is_deployed_to_and_undeployed_without_a_trace_but_logs(
    machines: Lab, first_bundle: Path, figures: list[str]
) -> None:
    operator = Operator(machines.machine("h1"))
    operator.machine.boot()
    operator.carry(first_bundle)
    before = set(operator.machine.ssh(LISTING).splitlines())

    began = time.monotonic()
    done = operator.deploy(first_bundle)
    figures.append(f"fresh machine to serving: {time.monotonic() - began:.0f} s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert operator.framefleet("status").returncode == 0
    assert operator.framefleet("smoke").returncode == 0
    assert operator.release() == release_of(first_bundle)

    operator.machine.reboot()
    operator.wait_until_serving(first_bundle)
    # nginx answers as soon as one instance does.
    wait_until("everything is well", lambda: operator.framefleet("status").returncode == 0)

    done = operator.framefleet("undeploy")
    assert done.returncode == 0, done.stdout + done.stderr
    left = set(operator.machine.ssh(LISTING).splitlines()) - before
    assert [path for path in sorted(left) if not path.startswith(EXPECTED_TRACES)] == []
    assert "/var/log/framefleet/deploy.log" in left
    assert operator.machine.run("pgrep -u framefleet; id framefleet").stdout == ""
    operator.machine.remove()


def test_a_bundle_arrives_in_slices_and_a_damaged_slice_is_found(
    serving: Operator, bundles: BundleMaker, one_host: Path
) -> None:
    bundle = bundles.make(one_host, slice_mb=60)
    parts = sorted(bundle.parent.glob(f"{bundle.name}.*"))
    assert len(parts) >= 5  # two slices, their hashes, the whole's hash and the recipe
    serving.machine.ssh(f"mkdir {KIT}")
    for part in parts:
        serving.machine.push(part, KIT)
    serving.machine.ssh(f"sh {KIT}/{bundle.name}.join.sh && tar -tf {KIT}/{bundle.name} >/dev/null")
    serving.machine.ssh(f"echo x >>{KIT}/{bundle.name}.001")
    damaged = serving.machine.run(f"sh {KIT}/{bundle.name}.join.sh")
    assert damaged.returncode != 0
    assert f"{bundle.name}.001: FAILED" in damaged.stdout


def test_deploying_the_same_again_starts_and_reloads_nothing(serving: Operator, first_bundle: Path) -> None:
    serving.carry(first_bundle)
    before = serving.programs()
    done = serving.deploy(first_bundle)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing had to change" in done.stdout
    assert serving.programs() == before


def test_a_change_of_the_configuration_restarts_only_what_it_touches(serving: Operator, one_host: Path) -> None:
    def deployed_with(text: str) -> dict[str, str]:
        serving.machine.write(f"{KIT}/fleet.toml", text)
        _done(serving.framefleet(f"deploy --fleet {KIT}/fleet.toml"))
        return serving.programs()

    def without_workers(programs: dict[str, str]) -> dict[str, str]:
        """nginx reloads by new workers; a process is the same if its id and its start are."""
        return {name: " ".join(processes.split()[:2]) for name, processes in programs.items()}

    before = serving.programs()
    watched = deployed_with(one_host.read_text() + '[monitoring]\noperators = ["127.0.0.1", "10.9.9.9"]\n')
    assert without_workers(watched) == without_workers(before)
    assert watched["nginx"] != before["nginx"]

    one_more = deployed_with(one_host.read_text().replace("cpu = 2", "cpu = 3"))
    assert without_workers(one_more) == {**without_workers(before), "cpu2": without_workers(one_more)["cpu2"]}


def test_a_new_release_and_the_way_back_lose_no_request(
    serving: Operator, first_bundle: Path, second_bundle: Path, picture: bytes, figures: list[str]
) -> None:
    serving.carry(second_bundle)
    with cameras(serving.url, picture=picture) as load:
        calm = _watched(load, lambda: load.wait_for(CALM))
        deploying = _watched(load, lambda: _done(serving.deploy(second_bundle)))
        assert serving.release() == release_of(second_bundle)
        load.wait_for(CALM)
        back = _watched(load, lambda: _done(serving.framefleet("rollback")))
        assert serving.release() == release_of(first_bundle)
        load.wait_for(CALM)
    assert load.failures == []
    assert set(load.by_instance) == {"cpu0", "cpu1"}
    for what, (seconds, p99) in {"calm": calm, "new release": deploying, "rollback": back}.items():
        figures.append(f"{what}: {seconds:.0f} s, p99 {p99:.0f} ms, {p99 / calm[1]:.1f} x calm, 0 failed")
    assert serving.framefleet("status").returncode == 0


def _watched(load: Cameras, act: "Callable[[], object]") -> tuple[float, float]:
    """Does something under load; how long it took, s, and the p99 of that time, ms."""
    begin = time.monotonic()
    act()
    end = time.monotonic()
    return end - begin, load.p99_ms(begin, end)


def _done(done: "subprocess.CompletedProcess[str]") -> None:
    assert done.returncode == 0, done.stdout + done.stderr
