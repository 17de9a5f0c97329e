"""Finds workers of nginx that accept nothing or are missing, and a master of them or a supervisord that is stopped.

Each worker has its own queue of new connections, so one that is stuck costs a share of the clients while all others
answer. Connections are asked on until the kernel has dealt every queue some. Flow: as in prober.py.

A worker that dies leaves behind what all of them count together, of each client's requests and each instance's, and
nobody ever takes it off: clients would be refused, and instances left aside, for requests that ended long ago. So a
new nginx is started beside the others, which begins at nothing.
"""

import os
import signal
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

from deploy.files.record import read_record
from deploy.fleet import Balancer
from deploy.guard.prober import Patience, Prober, Sighting, ask_at
from deploy.guard.reviver import Act
from deploy.machine import run
from deploy.machine.control import Control
from deploy.machine.processes import (
    STARVED,
    Process,
    balancer_processes,
    connections_waiting,
    cpu_ticks,
    fleet_processes,
    is_stopped,
    serving_among,
    thread_states,
)
from deploy.paths import Paths

# nginx never waits, so a worker that runs and accepts nothing for so long spins. What it has in hand is lost with it.
WORKER_PATIENCE = Patience(stopped_s=1.0, idle_s=2.0, busy_s=10.0, alone_s=10.0)
ASKS_PER_WORKER = 2
MAX_ASKS = 32
# Answered by nginx itself, and not logged.
PATH = "/_balancer"


class Deaths:
    """Remembers whose workers died in the middle of their work."""

    def __init__(self) -> None:
        self._serving: Mapping[int, int] = {}
        self._reloading = False
        self._miscounting: frozenset[int] = frozenset()

    def masters(self, nginx: Collection[Process], serving: Collection[int], *, reloading: bool) -> frozenset[int]:
        """Masters that live and count what ended with a worker.

        Args:
            nginx: all there are.
            serving: ids of the workers that were not told to finish.
            reloading: True while a reload may end workers.
        """
        alive = {process.pid for process in nginx}
        if not (reloading or self._reloading):
            self._miscounting |= {master for pid, master in self._serving.items() if pid not in alive}
        self._miscounting &= alive
        self._serving = {process.pid: process.parent for process in nginx if process.pid in serving}
        self._reloading = reloading
        return self._miscounting


def asks(workers: int) -> int:
    """How many new connections a round takes, so that within a few rounds each worker is dealt some."""
    return min(MAX_ASKS, ASKS_PER_WORKER * workers)


def probe_workers_once(
    paths: Paths,
    tell: Callable[[Act], None],
    prober: Prober,
    pool: ThreadPoolExecutor,
    clock: Callable[[], float] = time.monotonic,
    *,
    deaths: Deaths,
) -> None:
    """Looks at every process of nginx once and does what follows.

    Raises:
        ControlError: there is no record of the fleet, or its supervisord does not answer.
        OSError: such as a process that may not be signalled.
    """
    balancer = read_record(paths).balancer
    nginx = balancer_processes(paths)
    miscounting = deaths.masters(nginx, serving_among(nginx), reloading=paths.winding_down.exists())
    processes = {f"{Balancer.name}, pid {process.pid}": process for process in nginx}
    host, _, port = balancer.url.removeprefix("http://").rpartition(":")
    began = clock()
    answers = list(pool.map(lambda _: ask_at(host, int(port), PATH), range(asks(len(nginx)))))
    # A worker that works may have some waiting for an instant, but then everybody is answered.
    waiting = connections_waiting([process.pid for process in nginx]) if "silent" in answers else {}
    sightings = {name: _sight(process.pid, waiting.get(process.pid, 0)) for name, process in processes.items()}
    # Nobody but its child sees that supervisord itself is stopped.
    parent = Process(os.getppid(), 0, "supervisord")
    processes[parent.kind] = parent
    sightings[parent.kind] = Sighting("silent", stopped=True) if is_stopped(parent.pid) else Sighting("answers")
    for verdict in prober.decide(sightings, began, clock()):
        number = signal.SIGCONT if verdict.signal == "CONT" else signal.SIGKILL
        tell(Act("alert", verdict.name, verdict.message))
        _send(paths, processes[verdict.name], number)
    if miscounting:
        _replace(paths, tell, miscounting)


def _replace(paths: Paths, tell: Callable[[Act], None], masters: Collection[int]) -> None:
    """Has supervisord start another nginx, which takes over from its workers as from those of any that was killed."""
    with Control(paths) as control:
        state = control.states()[Balancer.name]
        # The end of one that does not count as running yet would be a failed start.
        if state.state == "RUNNING" and state.pid in masters:
            tell(Act("alert", Balancer.name, "a worker died, and what it had in hand is counted on: nginx is replaced"))
            control.signal(Balancer.name, "KILL")


def _send(paths: Paths, process: Process, number: signal.Signals) -> None:
    run.send(process, number, lambda: (process.pid, process.kind) in {(p.pid, p.kind) for p in fleet_processes(paths)})


def _sight(pid: int, waiting: int) -> Sighting:
    if is_stopped(pid):
        return Sighting("silent", cpu_ticks(pid), stopped=True)
    if waiting:
        return Sighting("silent", cpu_ticks(pid), starved=bool(thread_states(pid) & STARVED))
    return Sighting("answers")
