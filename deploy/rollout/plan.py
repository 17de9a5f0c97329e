"""Decides in which order a running fleet takes over a new configuration; nothing happens here.

Flow: what supervisord says has changed [Changes] + what runs [ProgramState...] -> plan -> [Step...] -> run.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from deploy.fleet import Fleet
from deploy.machine.control import UP_STATES, Changes, ProgramState

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
