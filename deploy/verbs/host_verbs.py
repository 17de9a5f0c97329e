"""The verbs of a host, which the command line has where it runs from a release instead of a checkout.

`host_rows`, `host_table`: what `framefleet status` shows: a row per program, with what its GPU and clients see.

Flow: [Fleet] + [ProgramState...] + programs.json + each instance's /status -> [HostRow...] -> table.
"""

import argparse
import json
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from deploy.checks.health import PROBE_TIMEOUT_S, Readiness, probe_fleet
from deploy.errors import ControlError, Problem, SettingsError
from deploy.fleet import Fleet, Instance
from deploy.machine import run
from deploy.machine.control import UP_STATES, Control, ProgramState, answers
from deploy.machine.machine import Machine
from deploy.machine.run_files import read_state
from deploy.machine.service_manager import Systemd
from deploy.machine.target import Target
from deploy.paths import Paths
from deploy.release import TEST_PICTURE, release_of
from deploy.rollout.desired_state import Request
from deploy.rollout.history import read_history
from deploy.rollout.recipes import deploy, drain, rollback, undeploy
from deploy.rollout.stopping import ANSWER_TIMEOUT_S
from deploy.verbs.status import columns, duration, seen, state_word
from framefleet.http.session import open_session

HEADER = ("PROGRAM", "GPU", "RELEASE", "STATE", "UPTIME", "RESTARTS", "RATE", "P95", "READY")
DEVICE_LETTERS = 12
UNKNOWN = "-"
AddVerb = Callable[..., argparse.ArgumentParser]
FIX = (
    "/opt/framefleet/current/bin/framefleet is the command line of a host; "
    "make a bundle, then tools/deploy.sh BUNDLE.tar"
)


@dataclass(frozen=True, slots=True)
class Recent:
    """What an instance says of its last minute: answers a second, and the 95th percentile of their time, ms."""

    rate: float
    p95_ms: float | None


@dataclass(frozen=True, slots=True)
class HostRow:
    """One program.

    Attributes:
        name: of the program.
        device: what an instance computes on; empty for other programs.
        state: as supervisord sees it.
        readiness: as it answers itself.
        restarts: since the reviver started; None if nobody counts.
        recent: None for what is no instance, or does not answer.
    """

    name: str
    device: str
    state: ProgramState
    readiness: Readiness
    restarts: int | None
    recent: Recent | None

    @property
    def well(self) -> bool:
        """True if the process runs, or counts as starting, and answers that it is ready."""
        return self.state.state in UP_STATES and self.readiness.ready


def add_host_verbs(verb: AddVerb) -> None:
    """Adds deploy, rollback, drain, undrain and undeploy."""
    added = verb("deploy", _deploy, "Make this release serve on this host; a host's bundle does that by its deploy.sh.")
    added.add_argument("--fleet", type=Path, help="fleet.toml from now on (default: the host's own)")
    added.add_argument("--host", help="this host's name in there (default: found)")
    added.add_argument("--bundle", type=Path, help="folder of the unpacked bundle, for its model")
    verb("rollback", _rollback, "Go back to the release and configuration before.")
    for name, text in (("drain", "Send a host of the fleet no more requests."), ("undrain", "Send them again.")):
        verb(name, _drain, text).add_argument("name", metavar="HOST")
    verb("undeploy", _undeploy, "Stop and remove everything but the logs.")


def this_target(machine: Machine) -> Target | None:
    """The host, if this code is a release on one; None in a checkout."""
    code = run.this_code()
    try:
        release = release_of(code.repo)
    except ValueError as error:
        raise SettingsError(Problem(str(code.repo), str(error), "deploy the bundle again")) from None
    if release is None:
        return None
    facts = run.host_facts(None, machine.environ)
    return Target(code, release, facts, Systemd(machine), machine)


def target_paths(target: Target) -> Paths:
    """Where the host's fleet has its files.

    Raises:
        ControlError: nothing is deployed.
    """
    return _current_fleet(target).paths


def known_picture(target: Target) -> Path:
    """The picture that came with the release."""
    return target.code.repo / TEST_PICTURE


def show_host(target: Target) -> int:
    """Prints a row per program; 0 only if every one runs and is ready."""
    fleet, machine = _current_fleet(target), target.machine
    history = read_history(target.history)
    if history.pending:
        machine.say(f"note: a deploy of release {history.pending.release}, {history.pending.at}, has not ended")
    if not answers(fleet.paths):
        raise ControlError(Problem("supervisord", "does not run", "systemctl status framefleet; systemctl start it"))
    with open_session() as session, Control(fleet.paths, ANSWER_TIMEOUT_S) as control:
        readiness = {answer.name: answer for answer in probe_fleet(fleet)}
        recent = {instance.name: read_recent(session, instance) for instance in fleet.instances}
        rows = host_rows(fleet, control.states(), readiness, recent)
    machine.say(host_table(rows))
    return 0 if all(row.well for row in rows) else 1


def _current_fleet(target: Target) -> Fleet:
    history = read_history(target.history)
    known = history.current or history.pending
    if known is None:
        raise ControlError(Problem(str(target.install), "nothing is deployed here", "deploy a bundle"))
    try:
        return known.fleet
    except ValueError as error:
        fix = f"use {target.install}/current/bin/framefleet"
        raise ControlError(Problem(str(target.history), str(error), fix)) from None


def _deploy(options: argparse.Namespace, machine: Machine) -> int:
    return _on_target(machine, lambda target: deploy(Request(options.fleet, options.host, options.bundle), target))


def _rollback(options: argparse.Namespace, machine: Machine) -> int:
    return _on_target(machine, rollback)


def _drain(options: argparse.Namespace, machine: Machine) -> int:
    return _on_target(machine, lambda target: drain(options.name, options.verb == "drain", target))


def _undeploy(options: argparse.Namespace, machine: Machine) -> int:
    return _on_target(machine, undeploy)


def _on_target(machine: Machine, recipe: Callable[[Target], None]) -> int:
    target = this_target(machine)
    if target is None:
        raise SettingsError(Problem("this checkout", "is no release on a host", FIX))
    # What is written must be readable for the service's user, whatever the caller's habits.
    os.umask(0o022)
    # A terminal that goes away must not leave a host half-way.
    with run.handling({signal.SIGHUP: lambda *_: None}):
        recipe(target)
    return 0


def host_rows(
    fleet: Fleet,
    states: Mapping[str, ProgramState],
    answers: Mapping[str, Readiness],
    recent: Mapping[str, Recent | None],
) -> tuple[HostRow, ...]:
    """Joins, by name, what should run with what runs, answers and was counted."""
    restarts = read_restarts(fleet.paths.programs_json)
    names = (*fleet.programs, *fleet.watchers)
    known = {name: ProgramState(name, "MISSING", 0, 0, "") for name in names} | dict(states)
    devices = {instance.name: instance.device for instance in fleet.instances}
    return tuple(
        HostRow(
            name=name,
            device=devices.get(name, ""),
            state=known[name],
            readiness=answers.get(name) or seen(known[name]),
            restarts=restarts.get(name),
            recent=recent.get(name),
        )
        for name in names
    )


def read_recent(session: requests.Session, instance: Instance) -> Recent | None:
    """Asks an instance for its last minute; None if it does not say."""
    try:
        figures: Any = session.get(f"{instance.url}/status", timeout=PROBE_TIMEOUT_S).json()["recent"]
        return Recent(float(figures["rate"]), None if figures["p95_ms"] is None else float(figures["p95_ms"]))
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return None


def read_restarts(file: Path) -> dict[str, int]:
    """What the reviver counted; nothing where it has not written yet."""
    try:
        return {str(row["name"]): int(row["restarts"]) for row in json.loads(read_state(file))["programs"]}
    except (OSError, ControlError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        return {}


def host_table(rows: tuple[HostRow, ...]) -> str:
    """Lays the rows out in columns."""
    return columns([HEADER, *(_cells(row) for row in rows)])


def _cells(row: HostRow) -> tuple[str, ...]:
    uptime = duration(row.state.uptime_s) if row.state.pid else UNKNOWN
    restarts = UNKNOWN if row.restarts is None else str(row.restarts)
    rate = f"{row.recent.rate:.1f}/s" if row.recent else UNKNOWN
    p95 = f"{row.recent.p95_ms:.1f} ms" if row.recent and row.recent.p95_ms is not None else UNKNOWN
    reason = "; ".join(text for text in (row.state.reason, row.readiness.reason) if text)
    ready = "yes" if row.readiness.ready else f"no: {reason}"
    device = row.device[:DEVICE_LETTERS] or UNKNOWN
    state = state_word(row.state.state, row.readiness.ready)
    return (row.name, device, row.readiness.release or UNKNOWN, state, uptime, restarts, rate, p95, ready)
