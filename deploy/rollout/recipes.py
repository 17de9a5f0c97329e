"""The runbook: how a fleet is started, changed and stopped here, and how a host is deployed to, step by step.

The [Machine] does each step; what is decided is decided here. Each step of a deploy may be the last before a power cut:
what it is changing the host to is noted before anything that serves is touched, and each step can be taken again. So
after a cut the next deploy, of whatever release, or a rollback, carries on from what runs.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from deploy.checks.config_check import check_config
from deploy.errors import CheckError, ControlError, PreflightError, Problem, raise_if
from deploy.files.record import read_record
from deploy.files.render import render
from deploy.fleet import Fleet
from deploy.guard.recovery import end_recovery, wait_for_recovery
from deploy.machine import run_host
from deploy.machine.machine import Machine
from deploy.machine.run_lock import this_holder
from deploy.machine.service_manager import Foreground
from deploy.machine.target import Target
from deploy.paths import Folders, Paths
from deploy.release import hashes
from deploy.rollout.change import AcceptanceTest, change, going_back, stop_for_good, switch_files, take_over
from deploy.rollout.desired_state import (
    DesiredState,
    Request,
    desired_state_of,
    expand,
    make_deployment,
    read_desired_state,
)
from deploy.rollout.history import Deployment, History, read_history
from deploy.rollout.host_setup import build_engines, engines_of, host_folders, leftovers, prune
from deploy.rollout.preflight import bundled_model, health_notes, host_problems, preflight
from deploy.rollout.rolling_update import Step
from deploy.rollout.stopping import is_up, stop
from deploy.rollout.summary import changes, summary


def up(fleet: Fleet, machine: Machine) -> None:
    """Makes the fleet run as described, changing only what differs from what runs already.

    Raises:
        DeployError: it could not; a fleet that ran before runs on, a new one is stopped again.
    """
    wait_for_recovery(fleet.paths, machine)
    with machine.fleet_lock(fleet.paths, "`up`"), machine.port_claims(fleet.addresses):
        machine.make_folders(fleet.paths)
        raise_if(PreflightError, preflight(fleet, _own_ports(fleet.paths, machine), machine))
        raise_if(CheckError, check_config(fleet, fleet.paths.stage, machine))
        running = is_up(fleet.paths, machine)
        if running:  # half of an update would be none
            machine = machine.heedless()
        _say_changes(fleet, "changes" if running else "other than last time", machine)
        before = read_record(fleet.paths) if running else None

        def back() -> None:
            if not before:
                stop(fleet.paths, machine.heedless())
            elif before != fleet:
                machine.say("going back to the configuration that ran before")
                _bring_up(before, fleet, machine)

        with going_back(machine, back):
            steps = _bring_up(fleet, before, machine)
        machine.say(f"up: {summary(fleet, machine)}{'' if steps else '; nothing had to change'}")


def _bring_up(fleet: Fleet, before: Fleet | None, machine: Machine) -> tuple[Step, ...]:
    files = render(fleet)
    switch_files(fleet.paths, files, machine)
    return take_over(fleet, files, Foreground(machine), AcceptanceTest(fleet, before, None, machine))


def down(paths: Paths, machine: Machine) -> None:
    """Stops everything that belongs to the fleet in `paths`: the balancer first, so that no request is lost.

    Raises:
        ControlError: a process could not be stopped.
    """
    if not paths.state.is_dir() or not (machine.processes(paths) or _stale(paths)):
        machine.say(f"nothing runs in {paths.state}")
        return
    machine = machine.heedless()
    end_recovery(paths, machine)
    with machine.fleet_lock(paths, "`down`"):
        count = len(machine.processes(paths))
        stop(paths, machine)
        machine.say(f"down: {count} processes have ended" if count else "down: cleared away what a killed fleet left")


def run_while_up(fleet: Fleet, command: Sequence[str], machine: Machine, *, check: bool = False) -> int:
    """Runs a command while the fleet is up; a fleet that was not is stopped again afterwards.

    Args:
        fleet: what is wanted.
        command: what is run.
        machine: shows and times it.
        check: True if the command has an option --check, by which it says first what it lacks besides a fleet.

    Returns:
        The command's exit code.
    """
    # A fleet is not started for what cannot be run.
    if not shutil.which(command[0]):
        return machine.run_in_foreground(command)
    if check and (code := machine.run_in_foreground((*command, "--check"))):
        return code
    if is_up(fleet.paths, machine):
        _use_as_it_is(fleet, machine)
        return machine.run_in_foreground(command)
    up(fleet, machine)
    try:
        return machine.run_in_foreground(command)
    finally:
        # A second Ctrl-C must not leave half a fleet behind.
        with machine.undisturbed():
            down(fleet.paths, machine)


def deploy(request: Request, target: Target) -> None:
    """Makes this release, with the inventory's configuration, the one that serves.

    Raises:
        DeployError: it is not; what served before serves on.
    """
    with _locked(target, f"deploying release {target.release.id}") as before:
        state = read_desired_state(request, before, target)
        target = _keep_log(state, target)
        wanted, made_user = _prepare(state, request, before, target)
        replacing = request.inventory is not None
        now = change(
            wanted,
            replace(before, made_user=made_user),
            target,
            trusted=False,
            proven=lambda: _write_inventory(state, replacing, target),
        )
        prune(state.inventory.folders, now, target.machine)


def rollback(target: Target) -> None:
    """Goes back to the release and configuration before this one; after a deploy that was cut off, to the last whole.

    Raises:
        DeployError: there is none, or it does not start; what served before serves on.
    """
    with _locked(target, "rolling back") as history:
        wanted = history.current if history.pending else history.previous
        if wanted is None:
            raise ControlError(Problem("rollback", "nothing was deployed here before", "deploy a bundle"))
        target.machine.say(f"== rollback: to release {wanted.release}, deployed {wanted.at} by {wanted.by}")
        state = desired_state_of(wanted)
        target = _keep_log(state, target)
        change(wanted, history, target, trusted=True, proven=lambda: _write_inventory(state, True, target))


def drain(name: str, drained: bool, target: Target) -> None:
    """Lets this host's balancer send no more requests to a host, or send them again.

    Raises:
        DeployError: nothing is deployed here, there is no such host, or nginx does not take it.
    """
    with _locked(target, f"{'draining' if drained else 'undraining'} {name}") as history:
        current = _current(history, target)
        state = desired_state_of(current)
        state.inventory.host(name)
        names = set(current.drained) | {name} if drained else set(current.drained) - {name}
        state = replace(state, drained=tuple(sorted(names)))
        devices = target.machine.devices()
        fleet = expand(state, target, devices, engines_of(current.fleet, devices))
        change(make_deployment(state, fleet, target), history, _keep_log(state, target), trusted=True)


def undeploy(target: Target) -> None:
    """Stops everything and removes it; logs stay, and what other people put into the folders.

    Raises:
        DeployError: something could not be stopped.
    """
    machine = target.machine
    with _locked(target, "undeploying") as history:
        known = history.current or history.pending
        folders = known.folders if known else Folders(install=target.install)
        machine.say(f"== undeploy: {folders.install}, {folders.etc}, {folders.state}, {folders.run}")
        stop_for_good(folders.paths, target)
        machine.take_over(folders.log)
        machine.remove(*leftovers(folders))
        if known and history.made_user:
            machine.remove_user(known.parsed.user)
        machine.remove_if_empty(folders.etc)
        # Last, because this runs from there.
        machine.remove(folders.install)
    machine.say(f"undeployed; the logs stay in {folders.log}")


def _stale(paths: Paths) -> bool:
    return paths.supervisor_socket.exists() or paths.supervisor_pid.exists()


def _own_ports(paths: Paths, machine: Machine) -> frozenset[int]:
    """Ports that a fleet of this folder holds; a killed one's processes are stopped before a new one starts."""
    if not machine.processes(paths):
        return frozenset()
    try:
        before = read_record(paths)
    except ControlError:
        return frozenset()
    return frozenset(port for _, port in before.addresses)


def _use_as_it_is(fleet: Fleet, machine: Machine) -> None:
    running = read_record(fleet.paths)
    if running.balancer.port != fleet.balancer.port:
        what = f"already up, on port {running.balancer.port} instead of {fleet.balancer.port}"
        raise ControlError(Problem(str(fleet.paths.state), what, "`make down` first, or name that port"))
    machine.say(f"already up, used as it is: {summary(running, machine)}")
    if unused := changes(running, fleet):
        machine.say(f"note: `make up` would change: {'; '.join(unused)}")


def _say_changes(fleet: Fleet, what: str, machine: Machine) -> None:
    try:
        before = read_record(fleet.paths)
    except ControlError:  # the first `up` in this folder, or of another version
        return
    if different := changes(before, fleet):
        machine.say(f"{what}: {'; '.join(different)} (what is not given has its default)")


@contextmanager
def _locked(target: Target, what: str) -> Iterator[History]:
    """Holds the host's lock, and says what the last holder did not finish."""
    machine = target.machine
    with machine.deploy_lock(target.lock, this_holder(what, machine.environ)) as died:
        history = read_history(target.history)
        if died:
            machine.say(f"note: {died.since_when(time.time())}, did not end; going on from what runs")
        if cut := history.pending:
            machine.say(f"note: the deploy of release {cut.release} by {cut.by}, {cut.at}, was cut off")
        yield history


def _prepare(state: DesiredState, request: Request, history: History, target: Target) -> tuple[Deployment, bool]:
    """Everything that can be done beside what serves; also says whether a deploy made the user."""
    machine, inventory = target.machine, state.inventory
    machine.say(f"== preflight: release {state.release.id} for host {state.host}")
    devices = machine.devices()
    fleet = expand(state, target, devices)
    raise_if(PreflightError, tuple(host_problems(state, fleet, history, request, target)))
    for note in health_notes(history, machine):
        machine.say(note)
    machine.say("== prepare: user, folders, model")
    made = machine.ensure_user(inventory.user, inventory.group, inventory.folders.state)
    machine.make_host_folders(host_folders(inventory))
    _place_model(state, request, target)
    if engines := build_engines(fleet, devices, machine):
        fleet = expand(state, target, devices, engines)
    return make_deployment(state, fleet, target), history.made_user or made


def _place_model(state: DesiredState, request: Request, target: Target) -> None:
    source, model = bundled_model(state, request), Path(state.model)
    if source and not run_host.has_model(model, state.model_sha256):
        target.machine.say(f"model {model.name} -> {model}")
        target.machine.place_model(source, model, hashes(target.code.repo))


def _current(history: History, target: Target) -> Deployment:
    if history.pending:
        raise ControlError(Problem(str(target.install), "a deploy was cut off", "deploy again, or roll back, first"))
    if not history.current:
        raise ControlError(Problem(str(target.install), "nothing is deployed here", "deploy a bundle"))
    return history.current


def _write_inventory(state: DesiredState, replacing: bool, target: Target) -> None:
    """Keeps the host's own fleet.toml, unless another was asked for or there is none."""
    file, machine = state.inventory.folders.inventory, target.machine
    if file.exists() and file.read_text() == state.text:
        return
    if file.exists() and replacing:
        kept = file.with_name(f"{file.name}.replaced")
        machine.write_text(kept, file.read_text(), 0o600, durable=True)
        machine.say(f"note: {file} is replaced; it was kept as {kept.name}")
    if replacing or not file.exists():
        # It may hold secrets.
        machine.write_text(file, state.text, 0o600, durable=True)


def _keep_log(state: DesiredState, target: Target) -> Target:
    log = state.inventory.folders.paths.log_of("deploy")
    say: Callable[[str], None] = run_host.to_terminal_and_log(target.machine.say, log)
    return replace(target, machine=replace(target.machine, say=say))
