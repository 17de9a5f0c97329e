"""Finds processes that take connections and answer nothing: stopped, stuck in the kernel, deadlocked, or spinning.

nginx would wait for such an instance until its read timeout, and the instance's own watchdog may be stopped with it.
Killed within nginx's 5 s for trying elsewhere, it costs nobody an answer. What is stopped is first let go on, which
costs nobody anything. Flow: [Sighting...] -> Prober -> [Verdict...], once a round, from the
reviver's process; what is below does the same for nginx.

`probe_workers_once`: finds workers of nginx that accept nothing or are missing, and a master of them or a
supervisord that is stopped.

Each worker has its own queue of new connections, so one that is stuck costs a share of the clients while all others
answer. Connections are asked on until the kernel has dealt every queue some. Flow: as above.

A worker that dies leaves behind what all of them count together, of each client's requests and each instance's, and
nobody ever takes it off: clients would be refused, and instances left aside, for requests that ended long ago. So a
new nginx is started beside the others, which begins at nothing.
"""

import http.client
import os
import signal
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from deploy.errors import ControlError
from deploy.files.record import read_record
from deploy.fleet import Balancer, Instance
from deploy.guard.reviver import Act
from deploy.machine import run
from deploy.machine.control import UP_STATES, Control
from deploy.machine.processes import (
    STARVED,
    Process,
    balancer_processes,
    connections_waiting,
    cpu_ticks,
    family,
    fleet_processes,
    is_stopped,
    serving_among,
    thread_states,
)
from deploy.paths import Paths

Answer = Literal["answers", "refuses", "silent"]
ROUND_S = 0.5
ASK_TIMEOUT_S = 1.0
MAX_AT_ONCE = 64
ASKS_PER_WORKER = 2
MAX_ASKS = 32
# Answered by nginx itself, and not logged.
PATH = "/_balancer"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a process may be silent.

    Attributes:
        stopped_s: s, if it is stopped: then it takes somebody to let it go on, whatever state the machine is in.
        idle_s: s, if it uses no CPU meanwhile and does not wait for any. With a round's own time this stays below the
            balancer's 5 s.
        busy_s: s, if it does: it may be starved, or the watchdog may be about to end an inference.
        alone_s: s, if it does and no other answers: the machine itself may be at fault.
        late_s: a round so many s after the one before says that this process was stopped too; then all is forgotten.
    """

    stopped_s: float = 1.0
    idle_s: float = 2.0
    busy_s: float = 20.0
    alone_s: float = 30.0
    late_s: float = 4.0


# nginx never waits, so a worker that runs and accepts nothing for so long spins. What it has in hand is lost with it.
WORKER_PATIENCE = Patience(stopped_s=1.0, idle_s=2.0, busy_s=10.0, alone_s=10.0)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One process in one round.

    Attributes:
        answer: whether it answered, refused the connection (nobody listens, which is nobody's concern here), or
            neither.
        ticks: CPU time its processes have used; asked only of a silent one.
        stopped: True if one of its processes is stopped; likewise.
        starved: True if one of its threads would run, or waits for a disk; likewise.
    """

    answer: Answer
    ticks: int = 0
    stopped: bool = False
    starved: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What has to be done about one process.

    Attributes:
        name: as in the sightings.
        signal: CONT lets it go on, KILL ends it.
        message: why, for people.
    """

    name: str
    signal: Literal["CONT", "KILL"]
    message: str


@dataclass(frozen=True, slots=True)
class _Silence:
    since: float
    ticks: int
    active: bool = False
    stopped: bool = False
    continued: bool = False


class Prober:
    """Remembers since when each process is silent.

    Args:
        patience: when that is too long.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._silences: dict[str, _Silence] = {}
        self._last_round: float | None = None

    def decide(self, sightings: Mapping[str, Sighting], began: float, now: float) -> tuple[Verdict, ...]:
        """Takes one round's sightings.

        Args:
            sightings: by name.
            began: when the round began; s, monotonic.
            now: when it ended.

        Returns:
            Whom to let go on or to kill, and why.
        """
        if self._last_round is not None and now - self._last_round > self._patience.late_s:
            self._silences.clear()
        self._last_round = now
        self._silences = {
            name: self._continued(name, sighting, began)
            for name, sighting in sightings.items()
            if sighting.answer == "silent"
        }
        alone = not any(sighting.answer == "answers" for sighting in sightings.values())
        verdicts = [
            done for name, silence in self._silences.items() if (done := self._judge(name, silence, alone, now))
        ]
        for verdict in verdicts:
            silence = self._silences.pop(verdict.name)
            if verdict.signal == "CONT":  # it has to show that this helped
                self._silences[verdict.name] = _Silence(now, silence.ticks, continued=True)
        return tuple(verdicts)

    def _continued(self, name: str, sighting: Sighting, began: float) -> _Silence:
        before = self._silences.get(name)
        if before is None:
            return _Silence(began, sighting.ticks, sighting.starved, sighting.stopped)
        active = before.active or sighting.starved or sighting.ticks != before.ticks
        return _Silence(before.since, sighting.ticks, active, sighting.stopped, before.continued)

    def _judge(self, name: str, silence: _Silence, alone: bool, now: float) -> Verdict | None:
        seconds = now - silence.since
        if seconds < self._limit_s(silence, alone):
            return None
        what = f"takes connections but answers nothing for {seconds:.1f} s"
        if silence.stopped and not silence.continued:
            return Verdict(name, "CONT", f"{what}, for it is stopped: told to go on")
        how = "for it is stopped" if silence.stopped else "though it is busy" if silence.active else "and uses no CPU"
        return Verdict(name, "KILL", f"{what} {how}: killed")

    def _limit_s(self, silence: _Silence, alone: bool) -> float:
        if silence.stopped:
            return self._patience.stopped_s
        if not silence.active:
            return self._patience.idle_s
        return max(self._patience.busy_s, self._patience.alone_s) if alone else self._patience.busy_s


def ask(instance: Instance, timeout_s: float = ASK_TIMEOUT_S) -> Answer:
    """Asks an instance whether it is alive."""
    return ask_at(instance.host, instance.port, "/livez", timeout_s)


def ask_at(host: str, port: int, path: str, timeout_s: float = ASK_TIMEOUT_S) -> Answer:
    """Asks whoever listens there, on a new connection, for anything that is HTTP."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        connection.getresponse()
    except TimeoutError:
        return "silent"
    except (OSError, http.client.HTTPException):
        return "refuses"
    finally:
        connection.close()
    return "answers"


def sight(answer: Answer, *pids: int) -> Sighting:
    """Looks at the processes of one that gave this answer.

    Args:
        answer: of its port. Where it is refused and a process is stopped, nobody is going to listen there.
        pids: its own processes, the program first; none if they are not known.
    """
    stopped = answer != "answers" and any(is_stopped(pid) for pid in pids)
    if answer != "silent" and not stopped:
        return Sighting(answer)
    starved = any(thread_states(pid) & STARVED for pid in pids)
    return Sighting("silent", sum(cpu_ticks(pid) for pid in pids[:1]), stopped=stopped, starved=starved)


def probe_for_ever(
    paths: Paths,
    tell: Callable[[Act], None],
    prober: Prober,
    *,
    probe: Callable[[Paths, Callable[[Act], None], Prober, ThreadPoolExecutor], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Looks for silent processes until this process ends; what is killed is started again by supervisord, or nginx.

    Args:
        paths: of the fleet; its record names the instances.
        tell: takes everything that is done.
        prober: decides.
        probe: looks once, as `probe_once` does.
        sleep: waits for s.
    """
    unexpected = ""
    with ThreadPoolExecutor(MAX_AT_ONCE) as pool:
        while True:
            try:
                probe(paths, tell, prober, pool)
            except (ControlError, OSError):
                pass  # a fleet on its way in or out has no record or no supervisord; the next round is another chance
            except Exception as error:  # such as no thread to be had: whatever it is must not end the looking
                if repr(error) != unexpected:
                    unexpected = repr(error)
                    tell(Act("alert", "prober", f"cannot look for silent processes: {unexpected}"))
            sleep(ROUND_S)


def probe_once(
    paths: Paths,
    tell: Callable[[Act], None],
    prober: Prober,
    pool: ThreadPoolExecutor,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Asks every instance once and does what follows.

    Raises:
        ControlError: there is no record of the fleet, or its supervisord does not answer.
    """
    instances = read_record(paths).instances
    began = clock()
    answers = dict(zip((i.name for i in instances), pool.map(ask, instances), strict=True))
    pids = _pids(paths) if {"silent", "refuses"} & {*answers.values()} else {}
    # What supervisord is stopping, or does not run at all, is not ours to judge.
    sightings = {
        name: sight(answer, *_family(pids.get(name, 0)))
        for name, answer in answers.items()
        if answer != "silent" or name in pids
    }
    for verdict in prober.decide(sightings, began, clock()):
        tell(Act("alert", verdict.name, verdict.message))
        # One that has ended meanwhile must not keep the others waiting.
        with suppress(ProcessLookupError, ControlError):
            if verdict.signal == "CONT":
                # supervisord makes every program the leader of a group, and the worker is in it.
                os.killpg(pids[verdict.name], signal.SIGCONT)
            else:
                with Control(paths) as control:
                    control.signal(verdict.name, "KILL")


def _family(pid: int) -> tuple[int, ...]:
    """The program itself comes first: its ticks are asked together with its children's."""
    return (pid, *(other for other in family(pid) if other != pid)) if pid else ()


def _pids(paths: Paths) -> dict[str, int]:
    with Control(paths) as control:
        return {name: state.pid for name, state in control.states().items() if state.state in UP_STATES and state.pid}


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
