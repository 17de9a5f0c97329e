"""Brings a running fleet to the configuration that lies in its etc folder, one step after the other.

Flow: supervisord [Changes] + [ProgramState...] -> rollout.plan -> [Step...] -> stop, start, wait, accept.
"""

from collections.abc import Callable, Sequence

from deploy.files.nginx_files import digest, loaded
from deploy.fleet import Fleet
from deploy.guard.reload import reload_balancer
from deploy.machine.control import Control
from deploy.machine.machine import Machine
from deploy.rendered_file import RenderedFile
from deploy.rollout.plan import Step, plan
from deploy.rollout.readiness import ReadinessWait


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
