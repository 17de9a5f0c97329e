"""Deploys that meet each other, and deploys that a power cut ends at any step."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hosts.bundles import release_of
from tests.hosts.lab import Lab
from tests.hosts.machines import Machine
from tests.hosts.operator import Operator

# What a deploy says before it takes each step, in order. The power goes there.
STEPS = (
    *("== preflight:", "== prepare:", "== check:", "== trial:", "== switch:", "== roll:"),
    *("replace cpu0", "  cpu0 ", "replace cpu1", "  cpu1 ", "watching", "deployed:"),
)


@contextmanager
def deploying(operator: Operator, bundle: Path) -> Iterator["subprocess.Popen[str]"]:
    """A deploy in the background; the connection to it ends with the block."""
    command = operator.machine.command(operator.deploying(bundle))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: "subprocess.Popen[str]", start: str) -> None:
    """Reads what a deploy says until it begins a step."""
    said = []
    assert process.stdout
    for line in process.stdout:
        said.append(line)
        if line.startswith(start):
            return
    raise AssertionError(f"it never said {start!r}, but:\n{''.join(said)}")


@pytest.fixture
def prepared(machines: Lab, deployed: Machine, second_bundle: Path) -> Machine:
    """A machine that is switched off; it serves the first release when it is on, and the second one is built."""
    operator = Operator(machines.machine("h1", like=deployed))
    operator.machine.boot()
    operator.build(second_bundle)
    operator.machine.power_off()
    return operator.machine


def test_the_second_of_two_deploys_is_told_who_is_at_it(serving: Operator, second_bundle: Path) -> None:
    serving.carry(second_bundle)
    with deploying(serving, second_bundle) as first:
        read_until(first, "== build:")
        refused = serving.deploy(second_bundle)
        assert refused.returncode == 1
        assert f"busy with building release {release_of(second_bundle)} by root (pid " in refused.stderr
        read_until(first, "== trial:")
        refused = serving.framefleet("rollback")
        assert refused.returncode == 1
        assert f"busy with deploying release {release_of(second_bundle)} by root (pid " in refused.stderr
        read_until(first, "deployed:")
        assert first.wait() == 0
    assert serving.release() == release_of(second_bundle)


def test_after_a_power_cut_while_a_release_is_built_the_next_deploy_converges(
    serving: Operator, first_bundle: Path, second_bundle: Path
) -> None:
    serving.carry(second_bundle)
    with deploying(serving, second_bundle) as process:
        read_until(process, "== build:")
        serving.machine.wait_for("half a venv", lambda: "cv2" in _packages(serving, second_bundle), 120)
        serving.machine.power_cut()
    serving.machine.boot()
    serving.wait_until_serving(first_bundle)
    _converges(serving, second_bundle)


def test_after_a_power_cut_at_any_step_the_host_serves_and_the_next_deploy_converges(
    machines: Lab, prepared: Machine, first_bundle: Path, second_bundle: Path
) -> None:
    hosts = {step: Operator(machines.machine("h1", like=prepared)) for step in STEPS}

    def cut(step: str) -> None:
        hosts[step].wait_until_serving(first_bundle)
        with deploying(hosts[step], second_bundle) as process:
            read_until(process, step)
            hosts[step].machine.power_cut()

    def go_on(step: str) -> None:
        hosts[step].wait_until_serving(first_bundle, second_bundle)
        _converges(hosts[step], second_bundle)

    # All at once, since a deploy mostly waits; switched on one by one, from this thread.
    for act in (cut, go_on):
        for host in hosts.values():
            host.machine.switch_on()
        for host in hosts.values():
            host.machine.wait_until_up()
        with ThreadPoolExecutor(len(STEPS)) as threads:
            list(threads.map(act, STEPS))
    for host in hosts.values():
        host.machine.remove()


def _packages(operator: Operator, bundle: Path) -> str:
    return operator.machine.run(
        f"ls /opt/framefleet/releases/{release_of(bundle)}/venv/lib/python*/site-packages"
    ).stdout


def _converges(operator: Operator, bundle: Path) -> None:
    done = operator.deploy(bundle)
    assert done.returncode == 0, done.stdout + done.stderr
    assert operator.release() == release_of(bundle)
    assert operator.framefleet("status").returncode == 0
    assert "nothing had to change" in operator.deploy(bundle).stdout
