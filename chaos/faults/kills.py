"""Processes that are killed or stopped."""

import os
import signal
from collections.abc import Iterator

from chaos.faults.stage import Stage, kill, kill_master_of, wait, wait_gone
from chaos.machine import children_of, parent_of


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
    worker = stage.fleet.worker(stage.chosen)
    for pid in (parent_of(worker), worker):
        os.kill(pid, signal.SIGSTOP)
    yield
    wait_gone(worker)


def kill_nginx_worker(stage: Stage) -> Iterator[None]:
    """`kill -9` of an nginx worker."""
    kill(children_of(stage.fleet.pid_of("nginx"))[0])
    yield


def kill_nginx_master(stage: Stage) -> Iterator[None]:
    """`kill -9` of the nginx master."""
    kill(stage.fleet.pid_of("nginx"))
    yield


def kill_supervisord(stage: Stage) -> Iterator[None]:
    """`kill -9` of supervisord; on a host systemd starts it again, here the reviver does."""
    killed = stage.fleet.pid_of("supervisord")
    kill(killed)
    yield
    wait("supervisord is started again", lambda: stage.fleet.pid_of("supervisord") not in (0, killed))
    stage.fleet.up()  # which waits until every instance is its own again


def kill_all(stage: Stage) -> Iterator[None]:
    """All instances are killed at once."""
    for pid in [stage.fleet.worker(instance) for instance in stage.fleet.instances]:
        kill(pid)
    yield
