"""Brings a running fleet to the configuration that lies in its etc folder, one step after the other.

`plan` decides in which order; nothing happens there.

Flow: supervisord [Changes] + [ProgramState...] -> plan -> [Step...] -> stop, start, wait, accept.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from deploy.files.nginx_files import digest, loaded
from deploy.fleet import Fleet
from deploy.guard.reload import reload_balancer
from deploy.machine.control import UP_STATES, Changes, Control, ProgramState
from deploy.machine.machine import Machine
from deploy.rendered_file import RenderedFile
from deploy.rollout.readiness import ReadinessWait

Action = Literal["add", "replace", "start", "reload", "remove"]


@dataclass(frozen=True, slots=True)
class Step:
    """One change to the running fleet, to be followed by waiting until `names` are ready.

    Attributes:
        action: add and start new programs; replace (stop, take the new configuration, start); start what had
            stopped; reload the balancer's files; remove (stop and forget).
        names: programs, handled at the same time.
    """

    action: Action
    names: tuple[str, ...]


def plan(
    fleet: Fleet,
    changes: Changes,
    states: Mapping[str, ProgramState],
    *,
    ports_moved: bool,
    balancer_loaded: bool,
) -> tuple[Step, ...]:
    """Orders the steps so that clients always find an instance that answers.

    New instances come first and leaving ones go last, with the balancer told in between; changed ones follow each
    other, unless ports moved: an instance's new port may still be another's old one, so they restart together. Of the
    changed ones, the one that ended or started last comes first: after a failed rollout it is what does not answer.

    Args:
        fleet: what is wanted.
        changes: supervisord's comparison of the files with what it runs.
        states: what supervisord runs.
        ports_moved: True if a changed instance has another port than before.
        balancer_loaded: True if the running nginx has read the files as they are now.
    """
    balancer = fleet.balancer.name
    instances = [instance.name for instance in fleet.instances]
    added = tuple(name for name in instances if name in changes.added)
    changed = tuple(
        sorted((name for name in instances if name in changes.changed), key=lambda name: _age(states[name]))
    )
    stopped = tuple(
        name
        for name in (*fleet.programs, *fleet.watchers)
        if name in states and name not in changes.changed and states[name].state not in UP_STATES
    )
    replacements = [Step("replace", changed)] if ports_moved else [Step("replace", (name,)) for name in changed]
    steps = [
        Step("start", stopped),
        Step("add", added),
        *replacements[:1],
        *_balancer_steps(balancer, changes, states, balancer_loaded),
        *replacements[1:],
        Step("remove", changes.removed),
        # It restarts nobody while the others change places.
        *(Step("add", (name,)) for name in fleet.watchers if name in changes.added),
        *(Step("replace", (name,)) for name in fleet.watchers if name in changes.changed),
    ]
    return tuple(step for step in steps if step.names)


def _age(state: ProgramState) -> float:
    """For how long a program has run, s; all that have proved themselves are equally old."""
    return math.inf if state.state == "RUNNING" else state.uptime_s


def _balancer_steps(
    balancer: str, changes: Changes, states: Mapping[str, ProgramState], loaded: bool
) -> tuple[Step, ...]:
    if balancer in changes.added:
        return (Step("add", (balancer,)),)
    if balancer in changes.changed:
        return (Step("replace", (balancer,)),)
    runs = states[balancer].state in UP_STATES
    return () if loaded or not runs else (Step("reload", (balancer,)),)


def roll_out(
    fleet: Fleet,
    files: Sequence[RenderedFile],
    control: Control,
    machine: Machine,
    *,
    before: Fleet | None,
    accept: Callable[[Sequence[str]], None],
) -> tuple[Step, ...]:
    """Carries out what has to change, until every program is ready.

    Args:
        fleet: what is wanted; its files are in place.
        files: the fleet's, as they were rendered.
        control: its supervisord.
        machine: shows and times it.
        before: what ran so far; None if that is not known.
        accept: is told of programs that were started and are ready; raises if they will not do.

    Returns:
        The steps that were taken; empty if nothing had to change.

    Raises:
        DeployError: a step failed; those before it stay done.
    """
    ports = {instance.name: instance.port for instance in before.instances} if before else {}
    changes = control.reread()
    steps = plan(
        fleet,
        changes,
        control.states(),
        ports_moved=any(ports.get(i.name) != i.port for i in fleet.instances if i.name in changes.changed),
        balancer_loaded=loaded(fleet.paths) == digest(files),
    )
    for step in steps:
        machine.say(f"{step.action} {', '.join(step.names)}")
        waiting = ReadinessWait(fleet, machine)
        if step.action == "reload":
            reload_balancer(fleet.paths, control, machine)
            machine.write_text(fleet.paths.nginx_loaded, digest(files))
        else:
            _take(step, control)
        if step.action != "remove":
            waiting.wait(control, step.names)
            accept(step.names)
    ReadinessWait(fleet, machine, quiet=True).wait(control, fleet.programs)
    return steps


def _take(step: Step, control: Control) -> None:
    """Carries one step out, up to the point where the programs have been started."""
    match step.action:
        case "start":
            # A program between two attempts counts as running to supervisord.
            control.stop(*step.names)
            for name in step.names:
                control.start(name)
            return
        case "replace" | "remove":
            control.stop(*step.names)
            for name in step.names:
                control.remove(name)
    if step.action != "remove":
        for name in step.names:
            control.add(name)
