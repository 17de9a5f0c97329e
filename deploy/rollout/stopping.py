"""Stops what belongs to a fleet: by its supervisord where that answers, else process by process."""

import signal

from deploy.errors import ControlError, Problem
from deploy.fleet import Balancer
from deploy.machine.machine import Machine
from deploy.machine.processes import Process
from deploy.paths import Paths

POLL_S = 0.1
# Above the instances' own 30 s for requests in flight.
GRACE_S = 35.0
ANSWER_TIMEOUT_S = 10.0


def is_up(paths: Paths, machine: Machine) -> bool:
    """True if a supervisord of this fleet takes orders.

    Raises:
        ControlError: one listens but does not answer.
    """
    if not machine.supervisord_listens(paths):
        return False
    with machine.control(paths, ANSWER_TIMEOUT_S) as control:
        return control.running()


def stop(paths: Paths, machine: Machine) -> None:
    """Stops what runs, by supervisord where it answers, else process by process; leaves no socket or pid file."""
    if machine.supervisord_listens(paths):
        try:
            _stop_by_supervisord(paths, machine)
        except ControlError as error:
            machine.say(f"{error.problems[0].what}: stopping its processes one by one")
    _stop_one_by_one(paths, machine)
    machine.remove(paths.supervisor_socket, paths.supervisor_pid, paths.nginx_pid, paths.nginx_loaded)
    machine.remove(paths.winding_down, paths.programs_json, paths.programs_prom, paths.quarantine, paths.waiting_room)


def _stop_by_supervisord(paths: Paths, machine: Machine) -> None:
    with machine.control(paths, ANSWER_TIMEOUT_S) as control:
        if control.running():
            names = tuple(control.states())
            machine.say(f"stopping {', '.join(names)}")
            control.stop(*(name for name in names if name == Balancer.name))
            control.stop(*(name for name in names if name != Balancer.name))
            control.shutdown()
    _wait_gone(paths, machine, GRACE_S)


def _stop_one_by_one(paths: Paths, machine: Machine) -> None:
    orphans = machine.processes(paths)
    if not orphans:
        return
    machine.say(f"stopping {len(orphans)} processes that no supervisord looks after")
    # First what would start the others again.
    for process in orphans:
        if process.kind == "supervisord":
            _send(process, signal.SIGKILL, paths, machine)
    for process in orphans:
        if process.kind != "supervisord":
            _send(process, signal.SIGQUIT if process.kind == "balancer" else signal.SIGTERM, paths, machine)
    for process in _wait_gone(paths, machine, GRACE_S):
        machine.say(f"killing {process.kind}, pid {process.pid}, which did not end within {GRACE_S:g} s")
        _send(process, signal.SIGKILL, paths, machine)
    if remaining := _wait_gone(paths, machine, ANSWER_TIMEOUT_S):
        pids = ", ".join(str(process.pid) for process in remaining)
        raise ControlError(Problem(str(paths.state), f"processes {pids} cannot be killed", "see what holds them (ps)"))


def _send(process: Process, number: signal.Signals, paths: Paths, machine: Machine) -> None:
    def still_ours() -> bool:
        return process.pid in {found.pid for found in machine.processes(paths)}

    machine.signal_process(process, number, still_ours)


def _wait_gone(paths: Paths, machine: Machine, timeout_s: float) -> tuple[Process, ...]:
    deadline = machine.clock() + timeout_s
    while (remaining := machine.processes(paths)) and machine.clock() < deadline:
        machine.sleep(POLL_S)
    return remaining
