"""Finds instances that take connections and answer nothing: stopped, stuck in the kernel, or deadlocked.

nginx would wait for such an instance until its read timeout, and the instance's own watchdog may be stopped with it.
Killed within nginx's 5 s for trying elsewhere, it costs nobody an answer. Flow: [Sighting...] -> Prober -> [Act...],
once a round, from the reviver's process.
"""

import http.client
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from deploy.control import UP_STATES, Control
from deploy.errors import ControlError
from deploy.fleet import Instance
from deploy.paths import Paths
from deploy.processes import cpu_ticks
from deploy.record import read_record
from deploy.reviver import Act

Answer = Literal["answers", "refuses", "silent"]
ROUND_S = 0.5
ASK_TIMEOUT_S = 1.0
MAX_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an instance may be silent.

    Attributes:
        idle_s: s, if it uses no CPU meanwhile. With a round's own time this stays below the balancer's 5 s.
        busy_s: s, if it does: it may be starved, or the watchdog may be about to end an inference.
        alone_s: s, if no other instance answers: the machine itself may be at fault.
        late_s: a round so many s after the one before says that this process was stopped too; then all is forgotten.
    """

    idle_s: float = 2.0
    busy_s: float = 20.0
    alone_s: float = 30.0
    late_s: float = 4.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """One instance in one round.

    Attributes:
        answer: whether it answered, refused the connection (nobody listens, which is nobody's concern here), or
            neither.
        ticks: CPU time its processes have used; asked only of a silent one.
    """

    answer: Answer
    ticks: int = 0


@dataclass(frozen=True, slots=True)
class _Silence:
    since: float
    ticks: int
    active: bool = False


class Prober:
    """Remembers since when each instance is silent; `patience` says when that is too long."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._silences: dict[str, _Silence] = {}
        self._last_round: float | None = None

    def decide(self, sightings: Mapping[str, Sighting], began: float, now: float) -> tuple[Act, ...]:
        """Takes one round's sightings.

        Args:
            sightings: by instance.
            began: when the round began; s, monotonic.
            now: when it ended.

        Returns:
            Whom to kill, and why.
        """
        if self._last_round is not None and now - self._last_round > self._patience.late_s:
            self._silences.clear()
        self._last_round = now
        self._silences = {
            name: self._continued(name, sighting, began)
            for name, sighting in sightings.items()
            if sighting.answer == "silent"
        }
        alone = all(sighting.answer != "answers" for sighting in sightings.values())
        killed = [act for name, silence in self._silences.items() if (act := self._judge(name, silence, alone, now))]
        for act in killed:
            del self._silences[act.program]
        return tuple(killed)

    def _continued(self, name: str, sighting: Sighting, began: float) -> _Silence:
        before = self._silences.get(name)
        if before is None:
            return _Silence(began, sighting.ticks)
        return _Silence(before.since, sighting.ticks, active=before.active or sighting.ticks != before.ticks)

    def _judge(self, name: str, silence: _Silence, alone: bool, now: float) -> Act | None:
        limit = self._patience.busy_s if silence.active else self._patience.idle_s
        seconds = now - silence.since
        if seconds < (max(limit, self._patience.alone_s) if alone else limit):
            return None
        how = "though it is busy" if silence.active else "and uses no CPU"
        return Act("alert", name, f"takes connections but answers nothing for {seconds:.1f} s {how}: killed")


def ask(instance: Instance, timeout_s: float = ASK_TIMEOUT_S) -> Answer:
    """Asks an instance whether it is alive."""
    connection = http.client.HTTPConnection(instance.host, instance.port, timeout=timeout_s)
    try:
        connection.request("GET", "/livez")
        connection.getresponse()
    except TimeoutError:
        return "silent"
    except (OSError, http.client.HTTPException):
        return "refuses"
    finally:
        connection.close()
    return "answers"


def probe_for_ever(
    paths: Paths,
    tell: Callable[[Act], None],
    prober: Prober,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Kills silent instances until this process ends; supervisord starts them again.

    Args:
        paths: of the fleet; its record names the instances.
        tell: takes everything that is done.
        prober: decides.
        clock: s, monotonic.
        sleep: waits for s.
    """
    with ThreadPoolExecutor(MAX_AT_ONCE) as pool:
        while True:
            # A fleet on its way in or out has no record or no supervisord; the next round brings another chance.
            with suppress(ControlError, OSError):
                probe_once(paths, tell, prober, pool, clock)
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
    pids = _pids(paths) if "silent" in answers.values() else {}
    # What supervisord is stopping, or does not run at all, is not ours to judge.
    watched = {name: answer for name, answer in answers.items() if answer != "silent" or name in pids}
    sightings = {
        name: Sighting(answer, cpu_ticks(pids[name]) if answer == "silent" else 0) for name, answer in watched.items()
    }
    for act in prober.decide(sightings, began, clock()):
        tell(act)
        with Control(paths) as control:
            control.signal(act.program, "KILL")


def _pids(paths: Paths) -> dict[str, int]:
    with Control(paths) as control:
        return {name: state.pid for name, state in control.states().items() if state.state in UP_STATES and state.pid}
