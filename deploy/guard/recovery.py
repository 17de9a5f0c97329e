"""Starts supervisord again after its death, where nobody else does, and hands the fleet over to it without a pause.

What supervisord started outlives it and serves on, but whatever ends then stays ended. On a host systemd starts
supervisord again; elsewhere the reviver becomes this program when its own supervisord is gone. Flow: the new
supervisord starts every program beside its old one; nginx takes over by itself (balancer.py), the others wait for their
ports, which their old ones leave one after the other.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("deploy.guard.recovery")


import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from deploy.errors import ControlError, DeployError, Problem
from deploy.files.record import read_record
from deploy.fleet import Fleet, Instance
from deploy.guard.self_resume import go_on_when_stopped
from deploy.machine.logs import grown_by, size_of
from deploy.machine.machine import Machine
from deploy.machine.processes import Process, fleet_processes, listening_sockets, thread_states
from deploy.paths import Paths

# Whoever killed it may be about to stop or to start the fleet himself.
DELAY_S = 5.0
RETRY_S = 30.0
POLL_S = 0.2
# What gunicorn says, once a model is loaded, as long as the port is another's; it tries again for 5 s.
WAITS_FOR_PORT = "Connection in use"
# A new instance may never get so far beside its old one, such as for want of a device's memory.
LOAD_LIMIT_S = 60.0
TAKE_LIMIT_S = 180.0


def recover(paths: Paths, machine: Machine) -> None:
    """Starts supervisord again and hands over to it, unless somebody else did or has stopped the fleet.

    Raises:
        DeployError: somebody is at work on the fleet, or supervisord does not start, or was killed in its turn.
    """
    if read_record(paths).unit:
        return  # systemd does it
    with machine.fleet_lock(
        paths, "starting supervisord again"
    ):  # who wants to work on the fleet waits from now on, or ends this
        machine.sleep(DELAY_S)
        fleet = read_record(paths)
        left = [process for process in machine.processes(paths) if process.pid != os.getpid()]
        if not left or any(process.kind == "supervisord" for process in left):
            return  # stopped, or started again
        marks = [size_of(paths.log_of(instance.name)) for instance in fleet.instances]
        machine.start_supervisord(fleet.lasting, paths, machine.environ)
        machine.say(f"supervisord had died, {len(left)} of its processes serve on; started again")
        with machine.control(paths) as control:
            new = control.pid()
        for instance, mark in zip(fleet.instances, marks, strict=True):
            _hand_over(fleet, instance, mark, new, machine)
        if not _lives(new):
            raise ControlError(Problem("supervisord", "died again", f"see {paths.log_of('supervisord')}"))
        machine.say("every instance is supervisord's again")


def wait_for_recovery(paths: Paths, machine: Machine) -> None:
    """Waits as long as a recovery is under way: what it has begun is easier to work on when it is done."""
    if _under_way(paths, machine):
        machine.say("supervisord had died and is being started again; waiting until that is done")
    while _under_way(paths, machine):
        machine.sleep(POLL_S)


def end_recovery(paths: Paths, machine: Machine) -> None:
    """Ends a recovery that is under way, so that it starts nothing any more."""
    while process := _under_way(paths, machine):
        machine.signal_process(process, signal.SIGKILL, lambda: _under_way(paths, machine) is not None)
        machine.sleep(POLL_S)


def _under_way(paths: Paths, machine: Machine) -> Process | None:
    """The fleet's own process that holds the fleet's lock: nothing else of what supervisord started ever does."""
    holder = machine.lock_holder(paths.lock)
    return next((process for process in machine.processes(paths) if holder and process.pid == holder.pid), None)


def _hand_over(fleet: Fleet, instance: Instance, mark: int, new: int, machine: Machine) -> None:
    """Lets an old instance make room, once the new one waits for that."""
    log = fleet.paths.log_of(instance.name)
    _wait(lambda: _is_ours(fleet, instance, new) or WAITS_FOR_PORT in grown_by(log, mark), LOAD_LIMIT_S, new, machine)
    if not _lives(new):
        return  # killed in its turn; its own reviver goes on from here, or if that is gone too, this
    for master in _masters(fleet, instance):
        if master.parent != new:
            _ask_to_end(fleet, master, machine)
    if not _wait(lambda: _is_ours(fleet, instance, new), TAKE_LIMIT_S, new, machine):
        machine.say(f"{instance.name} does not listen again; its log is {log}")


def _ask_to_end(fleet: Fleet, master: Process, machine: Machine) -> None:
    machine.signal_process(master, signal.SIGTERM, lambda: master in machine.processes(fleet.paths))


def _is_ours(fleet: Fleet, instance: Instance, new: int) -> bool:
    return any(master.parent == new for master in _masters(fleet, instance))


def _masters(fleet: Fleet, instance: Instance) -> Iterator[Process]:
    """The gunicorn masters whose workers listen on an instance's port."""
    processes = {process.pid: process for process in fleet_processes(fleet.paths) if process.kind == "instance"}
    for process in processes.values():
        if process.parent in processes and instance.port in {where.port for where in listening_sockets([process.pid])}:
            yield processes[process.parent]


def _lives(pid: int) -> bool:
    return bool(thread_states(pid) - {"Z"})


def _wait(condition: Callable[[], bool], limit_s: float, new: int, machine: Machine) -> bool:
    """Waits until something holds; says whether it did within the limit and the new supervisord's life."""
    deadline = machine.clock() + limit_s
    while not condition():
        if machine.clock() > deadline or not _lives(new):
            return False
        machine.sleep(POLL_S)
    return True


def main(arguments: Sequence[str]) -> None:
    """Recovers the fleet whose folders are given, in the order of `Paths`, for as long as something of it runs."""
    paths = Paths(*map(Path, arguments))

    def say(line: str) -> None:
        with suppress(OSError):
            print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} recovery: {line}", flush=True)

    go_on_when_stopped()
    machine = Machine(say).heedless()
    while paths.record.exists():  # else somebody has cleared the fleet away
        try:
            return recover(paths, machine)
        # Such as somebody else at work, or a full disk; what there is serves on.
        except (DeployError, OSError) as error:
            machine.say(f"{error}; looked at again in {RETRY_S:g} s")
            machine.sleep(RETRY_S)
