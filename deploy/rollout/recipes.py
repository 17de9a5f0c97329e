"""The runbook: how a fleet is started, changed and stopped, step by step; `run` does each step to the machine.

`changes`, `model_name`: says in words which options a fleet is given that the one before was not: an `up` forgets
what the last one was told.

Flow: the record of the last `up` [Fleet] + what is asked for now [Fleet] -> changes -> one line on the terminal.

`port_claims`: keeps two fleets from starting on the same ports at the same moment; each would find them free.

`summary`: says in one line what a fleet serves: how many instances of which model, on what, and where.
"""

import shutil
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import requests

from deploy.checks.config_check import check_config
from deploy.checks.health import PROBE_TIMEOUT_S
from deploy.checks.preflight import preflight
from deploy.errors import CheckError, ControlError, DeployError, PreflightError, Problem, raise_if
from deploy.files.record import read_record
from deploy.files.render import render
from deploy.fleet import OWNED, PREFIX, SIMULATED, Fleet, Instance
from deploy.guard.recovery import end_recovery, wait_for_recovery
from deploy.machine import run
from deploy.machine.control import Control
from deploy.machine.processes import fleet_processes
from deploy.machine.world import World
from deploy.paths import Paths
from deploy.rollout.readiness import ReadinessWait
from deploy.rollout.rolling_update import roll_out
from deploy.rollout.stopping import is_up, stop
from framefleet.http.session import open_session
from framefleet.machine.claim import ClaimedError, claimed, holder_text

DEFAULT, OFF, ANY = "default", "off", "any"
KEYS, THREADS, CPUS = PREFIX + "KEYS", PREFIX + "THREADS", PREFIX + "CPUS"
# The model has a line of its own, and where pictures are quarantined nobody is asked.
OWN_WORDS = (OWNED - {CPUS}) | {PREFIX + "MODEL", PREFIX + "QUARANTINE"}
NAMES = {KEYS: "keys", THREADS: "threads of each", CPUS: "CPUs of the first"}
NONE = {KEYS: OFF, CPUS: "all"}


def up(fleet: Fleet, world: World) -> None:
    """Makes the fleet run as described, changing only what differs from what runs already.

    Raises:
        DeployError: it could not; a fleet that ran before runs on, a new one is stopped again.
    """
    wait_for_recovery(fleet.paths, world)
    with run.fleet_lock(fleet.paths), port_claims(fleet.addresses):
        run.make_folders(fleet.paths)
        raise_if(PreflightError, preflight(fleet, _own_ports(fleet.paths), run.run_command))
        raise_if(CheckError, check_config(fleet, fleet.paths.stage))
        running = is_up(fleet.paths)
        if running:  # half of an update would be none
            world = world.heedless()
        _say_changes(fleet, "changes" if running else "other than last time", world)
        if running:
            _update(fleet, world)
        else:
            _start(fleet, world)


def down(paths: Paths, world: World) -> None:
    """Stops everything that belongs to the fleet in `paths`: the balancer first, so that no request is lost.

    Raises:
        ControlError: a process could not be stopped.
    """
    if not paths.state.is_dir() or not (fleet_processes(paths) or _stale(paths)):
        world.say(f"nothing runs in {paths.state}")
        return
    world = world.heedless()
    end_recovery(paths, world)
    with run.fleet_lock(paths):
        count = len(fleet_processes(paths))
        stop(paths, world)
        world.say(f"down: {count} processes have ended" if count else "down: cleared away what a killed fleet left")


def run_while_up(fleet: Fleet, command: Sequence[str], world: World, *, check: bool = False) -> int:
    """Runs a command while the fleet is up; a fleet that was not is stopped again afterwards.

    Args:
        fleet: what is wanted.
        command: what is run.
        world: shows and times it.
        check: True if the command has an option --check, by which it says first what it lacks besides a fleet.

    Returns:
        The command's exit code.
    """
    # A fleet is not started for what cannot be run.
    if not shutil.which(command[0]):
        return run.run_in_foreground(command)
    if check and (code := run.run_in_foreground((*command, "--check"))):
        return code
    if is_up(fleet.paths):
        _use_as_it_is(fleet, world)
        return run.run_in_foreground(command)
    up(fleet, world)
    try:
        return run.run_in_foreground(command)
    finally:
        # A second Ctrl-C must not leave half a fleet behind.
        with run.handling(dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), lambda *_: None)):
            down(fleet.paths, world)


def _start(fleet: Fleet, world: World) -> None:
    stop(fleet.paths, world)
    files = render(fleet)
    run.replace_etc(fleet.paths, files)
    waiting = ReadinessWait(fleet, world)
    try:
        run.start_supervisord(fleet.lasting, fleet.paths, world.environ)
        world.say(f"started supervisord; waiting for {len(fleet.instances)} instance(s) and the balancer")
        with Control(fleet.paths) as control:
            waiting.wait(control, fleet.programs)
    except BaseException:
        stop(fleet.paths, world.heedless())
        raise
    world.say(f"up: {summary(fleet)}")


def _update(fleet: Fleet, world: World) -> None:
    files = render(fleet)
    before = read_record(fleet.paths)
    written = not run.holds(fleet.paths.etc, files)
    if written:
        run.replace_etc(fleet.paths, files)
    with Control(fleet.paths) as control:
        try:
            changed = roll_out(fleet, files, control, world, before=before)
        except DeployError:
            if written:
                world.say("failed; going back to the configuration that ran before")
                run.restore_etc(fleet.paths)
                roll_out(before, render(before), control, world, before=fleet)
            raise
    world.say(f"up: {summary(fleet)}{'' if changed else '; nothing had to change'}")


def _stale(paths: Paths) -> bool:
    return paths.supervisor_socket.exists() or paths.supervisor_pid.exists()


def _own_ports(paths: Paths) -> frozenset[int]:
    """Ports that a fleet of this folder holds; a killed one's processes are stopped before a new one starts."""
    if not fleet_processes(paths):
        return frozenset()
    try:
        before = read_record(paths)
    except ControlError:
        return frozenset()
    return frozenset(port for _, port in before.addresses)


def _use_as_it_is(fleet: Fleet, world: World) -> None:
    running = read_record(fleet.paths)
    if running.balancer.port != fleet.balancer.port:
        what = f"already up, on port {running.balancer.port} instead of {fleet.balancer.port}"
        raise ControlError(Problem(str(fleet.paths.state), what, "`make down` first, or name that port"))
    world.say(f"already up, used as it is: {summary(running)}")
    if unused := changes(running, fleet):
        world.say(f"note: `make up` would change: {'; '.join(unused)}")


def _say_changes(fleet: Fleet, what: str, world: World) -> None:
    try:
        before = read_record(fleet.paths)
    except ControlError:  # the first `up` in this folder, or of another version
        return
    if different := changes(before, fleet):
        world.say(f"{what}: {'; '.join(different)} (what is not given has its default)")


@contextmanager
def port_claims(addresses: Iterable[tuple[str, int]]) -> Iterator[None]:
    """Claims ports from before they are tried until a fleet listens on them.

    nginx and the instances share their ports (`SO_REUSEPORT`), so the kernel lets a second fleet of the same user in,
    and each would answer for the other.

    Args:
        addresses: host and port of each.

    Raises:
        PreflightError: another command is about to start a fleet on one.
    """
    with ExitStack() as held:
        for port in sorted({port for _, port in addresses}):
            try:
                held.enter_context(claimed(f"start-{port}"))
            except ClaimedError as error:
                what = f"{holder_text(error.pid)} is starting a fleet on it"
                raise PreflightError(Problem(f"port {port}", what, "wait for it, or choose another port")) from None
        yield


def summary(fleet: Fleet) -> str:
    """What a running fleet is, as its instances say themselves."""
    count = len(fleet.instances)
    with open_session() as session:
        # Each once, in the order of the instances: GPUs of one host may differ.
        serving = ", ".join(dict.fromkeys(_serving(session, instance, fleet) for instance in fleet.instances))
    who = f"{count} instance{'' if count == 1 else 's'} of release {fleet.release}"
    return f"{who}, {serving}, behind {fleet.balancer.url}" if serving else f"{who} behind {fleet.balancer.url}"


def _serving(session: requests.Session, instance: Instance, fleet: Fleet) -> str:
    """An instance's model and device; without an answer only the model that it was told to serve."""
    if fleet.model.startswith(SIMULATED):
        return fleet.model
    try:
        told: Any = session.get(f"{instance.url}/status", timeout=PROBE_TIMEOUT_S).json()
        model, device, note = told["model"]["name"], told["engine"]["device"], told["engine"]["note"]
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return model_name(fleet.model)
    return f"{model} on {device}{f' ({note})' if note else ''}"


def changes(before: Fleet, after: Fleet) -> tuple[str, ...]:
    """Lists what differs, each as `option old -> new`; empty if the options are the same."""
    return tuple(f"{name} {old} -> {new}" for name, old, new in _pairs(before, after) if old != new)


def model_name(model: str) -> str:
    """How people call a model: its file's name without the suffix, or all of `simulated:...`."""
    return model if model.startswith(SIMULATED) else Path(model).stem


def _pairs(before: Fleet, after: Fleet) -> Iterator[tuple[str, object, object]]:
    yield "model", *_apart(before.model, after.model)
    yield "release", before.release, after.release
    yield "instances", len(before.instances), len(after.instances)
    yield "port", before.balancer.port, after.balancer.port
    yield "instance port", _first_port(before), _first_port(after)
    old, new = asdict(before.balancer.allowance), asdict(after.balancer.allowance)
    for name in new:
        none = 0 if name == "burst" else ANY
        yield name, old[name] or none, new[name] or none
    yield from _settings(_environment(before), _environment(after))


def _settings(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[tuple[str, object, object]]:
    for name in sorted((old.keys() | new.keys()) - OWN_WORDS):
        if name.startswith(PREFIX):
            none = NONE.get(name, DEFAULT)
            yield NAMES.get(name, name), old.get(name) or none, new.get(name) or none


def _environment(fleet: Fleet) -> Mapping[str, str]:
    """The settings, which all instances share but for those that the fleet sets itself."""
    return fleet.instances[0].environment if fleet.instances else {}


def _first_port(fleet: Fleet) -> int:
    return fleet.instances[0].port if fleet.instances else 0


def _apart(old: str, new: str) -> tuple[str, str]:
    """Two models by their names, or by their paths where the names are the same."""
    names = model_name(old), model_name(new)
    return (old, new) if names[0] == names[1] else names
