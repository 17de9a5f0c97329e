"""Engines that fail on cue, at work or while they start."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from chaos.faults.stage import LIMIT_S, Stage, kill, wait, wait_gone, wait_taken
from chaos.rehearsal import ChaosError
from chaos.web import post

SLOW_LOAD_S = 60
# Of a program in a rehearsal; one more death and it is FATAL.
RETRIES = 3
# Instances that one picture may kill.
MAX_VICTIMS = 3
# Of all instances that have grown too large, one after the other.
REPLACED_S = 45.0


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
