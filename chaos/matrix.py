"""The matrix: every fault, which of them may come together, and what good requests may lose by it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from chaos.faults import kills, people, surroundings
from chaos.faults.stage import Stage

Part = Literal["", "instance", "reviver", "balancer"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One row.

    Attributes:
        name: for people and for `--only`.
        provoke: see `chaos.faults`.
        lost_s: good requests of at most so many seconds of load may be lost; 0: none.
        bound: what that is made of; empty for 0.
        file_model: whether it needs a model that is a file.
        p99_times: the good answers' p99 against that of the calm before, at most; 0: whatever it is.
        p99_ms: the good answers' p99 at most; 0: whatever it is.
        at_random: whether it is drawn in the random part: short, and nothing may be lost.
        hits: what it takes away for a while; empty for nothing.
        needs: what has to be there to mend it.
    """

    name: str
    provoke: Callable[[Stage], Iterator[None]]
    lost_s: float = 0.0
    bound: str = ""
    file_model: bool = False
    p99_times: float = 0.0
    p99_ms: float = 0.0
    at_random: bool = False
    hits: Part = ""
    needs: Part = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two faults that come together: `first` and `second`, and the s of load that they may cost in all."""

    first: Fault
    second: Fault
    lost_s: float

    @property
    def name(self) -> str:
        """Both names."""
        return f"{self.first.name}{PLUS}{self.second.name}"


PLUS = " + "
# Seconds of load that may be lost where no instance answers: all killed, the only one killed, all or a worker of nginx
# stopped, two faults at once, of which one may last 8 s.
ALL_KILLED_S, LONE_KILLED_S, STOPPED_S, TOGETHER_S = 1.0, 1.0, 2.0, 10.0
RESTART = "no instance listens until one has started again"
TRIED_TWICE = "what was in hand at one of them and then at another one has been tried twice; the others wait"
HELD = "its clients wait until it goes on, and then there may be more than are taken at once (503)"
WAITED = "all wait until it is seen that nobody answers, and then there may be more than are taken at once (503)"
MATRIX = (
    Fault("kill -9 of a gunicorn worker", kills.kill_worker, at_random=True, hits="instance"),
    Fault("kill -9 of a gunicorn master", kills.kill_master, at_random=True, hits="instance"),
    Fault("SIGSTOP of an instance", kills.stop_instance, at_random=True, hits="instance", needs="reviver"),
    Fault("SIGSTOP of all instances", kills.stop_all, lost_s=STOPPED_S, bound=WAITED),
    Fault(
        "an inference that hangs",
        kills.hang,
        lost_s=7.0,
        bound="those the hung instance took in the first seconds: past their deadline (5 s) before the watchdog (10 s)",
    ),
    Fault("an engine that fails fast for ever", kills.refuse, at_random=True, hits="instance"),
    Fault("a sticky engine error", kills.sticky, at_random=True, hits="instance"),
    Fault("out of memory once", kills.out_of_memory, at_random=True),
    Fault("a poison picture", kills.poison_picture, lost_s=20.0, bound=f"of two instances both die: {RESTART}"),
    Fault("a model that loads for 60 s", kills.slow_load),
    Fault("a model file replaced by garbage", surroundings.garbage_model, file_model=True),
    Fault("a port taken by a stranger", surroundings.taken_port, at_random=True, hits="instance"),
    Fault("a crash loop from the start", kills.short_crash_loop),
    Fault("FATAL to supervisor", kills.fatal),
    Fault("a full disk under logs and temporary files", surroundings.full_disk),
    Fault("a clock that jumps", surroundings.clock_jumps),
    Fault("kill -9 of the nginx master on a full disk", surroundings.full_disk_and_no_nginx),
    Fault("an nginx that cannot start", surroundings.nginx_that_cannot_start),
    Fault("no file descriptors left in an instance", surroundings.no_descriptors, at_random=True, hits="instance"),
    Fault("all instances over their memory ceiling at once", kills.memory_ceiling),
    Fault("200 clients with slow headers", people.slow_headers, p99_times=1.5, at_random=True),
    Fault("200 clients with slow bodies", people.slow_bodies, p99_times=1.5, at_random=True),
    Fault("clients that hang up", people.hang_ups, at_random=True),
    Fault("a hostile neighbour", people.hostile_neighbour, p99_ms=1000.0),
    Fault("nginx reloads", people.reload),
    Fault("a rendered configuration that is broken", people.broken_config),
    Fault("kill -9 of an nginx worker", kills.kill_nginx_worker, lost_s=1.0, bound="what it had in hand"),
    Fault("SIGSTOP of an nginx worker", kills.stop_nginx_worker, lost_s=STOPPED_S, bound=HELD),
    Fault("kill -9 of the nginx master", kills.kill_nginx_master, at_random=True, hits="balancer"),
    Fault("kill -9 of the reviver", kills.kill_reviver, at_random=True, hits="reviver"),
    Fault("kill -9 of supervisord", kills.kill_supervisord),
    Fault(
        "kill -9 of supervisord and the reviver",
        kills.kill_supervisord_and_reviver,
        lost_s=45.0,
        bound="nothing while they are gone; `make up` stops and starts all that it has to look after",
    ),
    Fault("all instances killed at once", kills.kill_all, lost_s=ALL_KILLED_S, bound=TRIED_TWICE),
    Fault(
        "a lone instance, killed and then restarted",
        kills.lone_instance,
        lost_s=LONE_KILLED_S,
        bound="it answers new ones beside those that waited, of whom the last may be past their deadline (5 s)",
    ),
)


def pairs(faults: Iterable[Fault]) -> tuple[Pair, ...]:
    """Which faults may come together, and at what cost.

    Each may with each other one; if both hit an instance, each hits another one. They may cost what they cost alone,
    and more only where that leaves no instance, or one takes away what mends the other.
    """
    return tuple(
        Pair(a, b, a.lost_s + b.lost_s + (TOGETHER_S if _worse_together(a, b) else 0.0))
        for a, b in combinations(faults, 2)
    )


def _worse_together(a: Fault, b: Fault) -> bool:
    unmended = any(one.hits and one.hits == other.needs for one, other in ((a, b), (b, a)))
    return unmended or a.hits == b.hits == "instance"
