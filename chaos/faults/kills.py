"""Processes that are killed or stopped, and engines that fail on cue, at work or while they start."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from chaos.faults.stage import LIMIT_S, Stage, kill, kill_master_of, stopped, wait, wait_gone, wait_taken
from chaos.machine import children_of, is_stopped, parent_of, started_as
from chaos.rehearsal import ChaosError, Instance
from chaos.web import post

SLOW_LOAD_S = 60
# Of a program in a rehearsal; one more death and it is FATAL.
RETRIES = 3
# Instances that one picture may kill.
MAX_VICTIMS = 3
# Of all instances that have grown too large, one after the other.
REPLACED_S = 45.0


# What is stopped has to be found within this.
NOTICED_S = 45.0
TAKEN_OVER_S = 60.0
REVIVER = "deploy.guard.listener"
# A setting that changes nothing here but the file that says it.
ANOTHER_SETTING = {"FRAMEFLEET_LOG_EVERY": "999"}


def kill_worker(stage: Stage) -> Iterator[None]:
    """`kill -9` of a gunicorn worker."""
    kill(stage.fleet.worker(stage.chosen))
    yield


def kill_master(stage: Stage) -> Iterator[None]:
    """`kill -9` of a gunicorn master."""
    kill_master_of(stage)
    yield


def stop_instance(stage: Stage) -> Iterator[None]:
    """SIGSTOP of master and worker."""
    yield from _stop(stage, stage.chosen)


def stop_all(stage: Stage) -> Iterator[None]:
    """SIGSTOP of every instance's master and worker."""
    yield from _stop(stage, *stage.fleet.instances)


def _stop(stage: Stage, *instances: Instance) -> Iterator[None]:
    workers = [stage.fleet.worker(instance) for instance in instances]
    yield from _notice_stopped(*(pid for worker in workers for pid in (parent_of(worker), worker)))


def stop_nginx_worker(stage: Stage) -> Iterator[None]:
    """SIGSTOP of an nginx worker."""
    yield from _notice_stopped(children_of(stage.fleet.pid_of("nginx"))[0])


def _notice_stopped(*pids: int) -> Iterator[None]:
    with stopped(*pids):
        yield
        wait("what was stopped goes on, or is ended", lambda: not any(map(is_stopped, pids)), NOTICED_S)


def kill_nginx_worker(stage: Stage) -> Iterator[None]:
    """`kill -9` of an nginx worker."""
    kill(children_of(stage.fleet.pid_of("nginx"))[0])
    yield


def kill_nginx_master(stage: Stage) -> Iterator[None]:
    """`kill -9` of the nginx master."""
    kill(stage.fleet.pid_of("nginx"))
    yield


def kill_reviver(stage: Stage) -> Iterator[None]:
    """`kill -9` of the reviver, which is the prober too."""
    kill(started_as(stage.fleet.var, REVIVER))
    yield
    wait("another reviver runs", lambda: started_as(stage.fleet.var, REVIVER) != 0)


def kill_supervisord(stage: Stage) -> Iterator[None]:
    """`kill -9` of supervisord; on a host systemd starts it again, here the reviver does."""
    killed = stage.fleet.pid_of("supervisord")
    kill(killed)

    def taken_over() -> bool:
        supervisord = stage.fleet.pid_of("supervisord")
        workers = map(stage.fleet.worker, stage.fleet.instances)
        return supervisord != killed and all(parent_of(parent_of(worker)) == supervisord for worker in workers)

    try:
        wait("another supervisord has taken over every instance", taken_over, TAKEN_OVER_S)
        yield
    except ChaosError:
        stage.fleet.up()
        raise


def kill_supervisord_and_reviver(stage: Stage) -> Iterator[None]:
    """`kill -9` of supervisord and the reviver; nobody but the operator, after 3 s, starts them again."""
    reviver = started_as(stage.fleet.var, REVIVER)
    kill(stage.fleet.pid_of("supervisord"))
    with suppress(ProcessLookupError):
        kill(reviver)
    time.sleep(3)
    yield
    stage.fleet.up()


def kill_all(stage: Stage) -> Iterator[None]:
    """All instances are killed at once."""
    for pid in [stage.fleet.worker(instance) for instance in stage.fleet.instances]:
        kill(pid)
    yield


def lone_instance(stage: Stage) -> Iterator[None]:
    """A fleet of one instance, which is killed, and then restarted by `python -m deploy up` with another setting."""
    fleet = stage.fleet
    try:
        fleet.up(1)
        kill(fleet.worker(fleet.instances[0]))
        wait("the instance answers again", fleet.ready)
        fleet.up(1, settings=ANOTHER_SETTING)
        yield
    finally:
        fleet.up()


def cued(stage: Stage, words: str) -> Iterator[None]:
    """The engine fails as the cue says; a cue that lasts is healed once the fault has shown."""
    worker = stage.fleet.worker(stage.chosen)
    stage.fleet.cue(stage.chosen, words)
    if words == "refuse":
        wait_gone(worker)
    else:
        wait_taken(stage)
    yield
    stage.fleet.uncue(stage.chosen)
    if words != "oom":
        wait_gone(worker)


def crash_loop(stage: Stage, deaths: int) -> Iterator[None]:
    """The instance dies while it starts, again and again; past 3 retries it is FATAL to supervisord."""
    log = stage.fleet.log / "supervisord.log"
    before = log.stat().st_size
    stage.fleet.cue(stage.chosen, "die")
    kill(stage.fleet.worker(stage.chosen))
    fatal_at_last = deaths > RETRIES
    sign = f"gave up: {stage.chosen.name} " if fatal_at_last else f"exited: {stage.chosen.name} "
    wanted = 1 if fatal_at_last else deaths
    wait(f"{wanted} x {sign!r} in supervisord's log", lambda: log.read_text()[before:].count(sign) >= wanted)
    yield
    stage.fleet.uncue(stage.chosen)


def slow_load(stage: Stage) -> Iterator[None]:
    """An instance is killed, and its model takes a minute to load."""
    stage.fleet.cue(stage.chosen, f"slow {SLOW_LOAD_S}")
    kill(stage.fleet.worker(stage.chosen))
    wait_taken(stage)
    yield


def poison_picture(stage: Stage) -> Iterator[None]:
    """A client sends a picture that kills whoever infers it, again and again until it is refused."""
    logs = [stage.fleet.log / f"{instance.name}.log" for instance in stage.fleet.instances]
    before = _deaths(logs)
    deadline = time.monotonic() + LIMIT_S
    while (answer := post(f"{stage.fleet.url}/v1/detect", stage.poison)) != (422, "quarantined"):
        if time.monotonic() > deadline:
            raise ChaosError(f"the poison picture is still answered {answer}")
        time.sleep(0.5)
    if (deaths := _deaths(logs) - before) > MAX_VICTIMS:
        raise ChaosError(f"the poison picture killed {deaths} instances")
    yield


def memory_ceiling(stage: Stage) -> Iterator[None]:
    """Every instance's engine keeps as much memory at once as an instance may hold."""
    fleet = stage.fleet
    workers = [fleet.worker(instance) for instance in fleet.instances]
    for instance in fleet.instances:
        fleet.cue(instance, "keep")
    yield
    for worker in workers:
        wait_gone(worker, REPLACED_S)


def _deaths(logs: Sequence[Path]) -> int:
    return sum(log.read_text(errors="replace").count("Reason: worker ") for log in logs)


hang = partial(cued, words="hang")
refuse = partial(cued, words="refuse")
sticky = partial(cued, words="sticky")
out_of_memory = partial(cued, words="oom")
short_crash_loop = partial(crash_loop, deaths=RETRIES)
fatal = partial(crash_loop, deaths=RETRIES + 1)
