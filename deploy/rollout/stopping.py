"""Stops what belongs to a fleet: by its supervisord where that answers, else process by process."""

import signal
import socket

from deploy.errors import ControlError, Problem
from deploy.fleet import Balancer
from deploy.machine import run
from deploy.machine.control import Control
from deploy.machine.ownership import running_stranger
from deploy.machine.processes import Process, fleet_processes
from deploy.machine.run_files import connect
from deploy.machine.world import World
from deploy.paths import Paths

POLL_S = 0.1
# Above the instances' own 30 s for requests in flight.
GRACE_S = 35.0
ANSWER_TIMEOUT_S = 10.0


def answers(paths: Paths) -> bool:
    """True if a supervisord of this fleet listens, be it on its way out.

    Raises:
        ControlError: it is another user's, and takes no orders of this one.
    """
    with socket.socket(socket.AF_UNIX) as client:
        try:
            connect(client, paths.supervisor_socket)
        except PermissionError:
            if problem := running_stranger(paths):
                raise ControlError(problem) from None
            return False
        except OSError:
            return False
    return True


def is_up(paths: Paths) -> bool:
    """True if a supervisord of this fleet takes orders.

    Raises:
        ControlError: one listens but does not answer.
    """
    if not answers(paths):
        return False
    with Control(paths, ANSWER_TIMEOUT_S) as control:
        return control.running()


def stop(paths: Paths, world: World) -> None:
    """Stops what runs, by supervisord where it answers, else process by process; leaves no socket or pid file."""
    if answers(paths):
        try:
            _stop_by_supervisord(paths, world)
        except ControlError as error:
            world.say(f"{error.problems[0].what}: stopping its processes one by one")
    _stop_one_by_one(paths, world)
    run.remove(paths.supervisor_socket, paths.supervisor_pid, paths.nginx_pid, paths.nginx_loaded, paths.winding_down)
    run.remove(paths.programs_json, paths.programs_prom, paths.quarantine, paths.waiting_room)


def _stop_by_supervisord(paths: Paths, world: World) -> None:
    with Control(paths, ANSWER_TIMEOUT_S) as control:
        if control.running():
            names = tuple(control.states())
            world.say(f"stopping {', '.join(names)}")
            control.stop(*(name for name in names if name == Balancer.name))
            control.stop(*(name for name in names if name != Balancer.name))
            control.shutdown()
    _wait_gone(paths, world, GRACE_S)


def _stop_one_by_one(paths: Paths, world: World) -> None:
    orphans = fleet_processes(paths)
    if not orphans:
        return
    world.say(f"stopping {len(orphans)} processes that no supervisord looks after")
    # First what would start the others again.
    for process in orphans:
        if process.kind == "supervisord":
            _send(process, signal.SIGKILL, paths)
    for process in orphans:
        if process.kind != "supervisord":
            _send(process, signal.SIGQUIT if process.kind == "balancer" else signal.SIGTERM, paths)
    for process in _wait_gone(paths, world, GRACE_S):
        world.say(f"killing {process.kind}, pid {process.pid}, which did not end within {GRACE_S:g} s")
        _send(process, signal.SIGKILL, paths)
    if remaining := _wait_gone(paths, world, ANSWER_TIMEOUT_S):
        pids = ", ".join(str(process.pid) for process in remaining)
        raise ControlError(Problem(str(paths.state), f"processes {pids} cannot be killed", "see what holds them (ps)"))


def _send(process: Process, number: signal.Signals, paths: Paths) -> None:
    run.send(process, number, lambda: process.pid in {found.pid for found in fleet_processes(paths)})


def _wait_gone(paths: Paths, world: World, timeout_s: float) -> tuple[Process, ...]:
    deadline = world.clock() + timeout_s
    while (remaining := fleet_processes(paths)) and world.clock() < deadline:
        world.sleep(POLL_S)
    return remaining
