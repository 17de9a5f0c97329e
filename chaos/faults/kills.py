"""Processes that are killed or stopped."""

import time
from collections.abc import Iterator
from contextlib import suppress

from chaos.faults.stage import Stage, kill, kill_master_of, stopped, wait
from chaos.machine import children_of, is_stopped, parent_of, started_as
from chaos.rehearsal import ChaosError, Instance

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
