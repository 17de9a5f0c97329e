"""The matrix: every fault, and what good requests may lose by it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chaos.faults import engine, kills, people, surroundings
from chaos.faults.stage import Stage


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
        at_random: whether it is drawn in the random part: short, and nothing may be lost.
    """

    name: str
    provoke: Callable[[Stage], Iterator[None]]
    lost_s: float = 0.0
    bound: str = ""
    file_model: bool = False
    p99_times: float = 0.0
    at_random: bool = False


RESTART = "no instance listens until one has started again"
MATRIX = (
    Fault("kill -9 of a gunicorn worker", kills.kill_worker, at_random=True),
    Fault("kill -9 of a gunicorn master", kills.kill_master, at_random=True),
    Fault("SIGSTOP of an instance", kills.stop_instance, at_random=True),
    Fault(
        "an inference that hangs",
        engine.hang,
        lost_s=7.0,
        bound="those the hung instance took in the first seconds: past their deadline (5 s) before the watchdog (10 s)",
    ),
    Fault("an engine that fails fast for ever", engine.refuse, at_random=True),
    Fault("a sticky engine error", engine.sticky, at_random=True),
    Fault("out of memory once", engine.out_of_memory, at_random=True),
    Fault("a poison picture", engine.poison_picture, lost_s=20.0, bound=f"of two instances both die: {RESTART}"),
    Fault("a model that loads for 60 s", engine.slow_load),
    Fault("a model file replaced by garbage", surroundings.garbage_model, file_model=True),
    Fault("a port taken by a stranger", surroundings.taken_port, at_random=True),
    Fault("a crash loop from the start", engine.short_crash_loop),
    Fault("FATAL to supervisor", engine.fatal),
    Fault("a full disk under logs and temporary files", surroundings.full_disk),
    Fault("a clock that jumps", surroundings.clock_jumps),
    Fault("no file descriptors left in an instance", surroundings.no_descriptors, at_random=True),
    Fault("200 clients with slow headers", people.slow_headers, p99_times=1.5, at_random=True),
    Fault("200 clients with slow bodies", people.slow_bodies, p99_times=1.5, at_random=True),
    Fault("clients that hang up", people.hang_ups, at_random=True),
    Fault("nginx reloads", people.reload),
    Fault("a rendered configuration that is broken", people.broken_config),
    Fault("kill -9 of an nginx worker", kills.kill_nginx_worker, lost_s=1.0, bound="what it had in hand"),
    Fault("kill -9 of the nginx master", kills.kill_nginx_master, at_random=True),
    Fault("kill -9 of supervisord", kills.kill_supervisord),
    Fault("all instances killed at once", kills.kill_all, lost_s=20.0, bound=RESTART),
)
