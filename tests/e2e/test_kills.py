"""Processes that are killed under load come back, and no client is told of an instance's death."""

import os
import signal
from collections.abc import Callable

import pytest

from tests.e2e.fleet import LocalFleet, ready, wait_until
from tests.e2e.load import steady_load

pytestmark = pytest.mark.e2e


def wait_all_running(fleet: LocalFleet) -> None:
    wait_until("all programs RUNNING", lambda: {s.state for s in fleet.states().values()} == {"RUNNING"})


def kill_and_wait(fleet: LocalFleet, name: str, url: str, pid: int) -> None:
    program = fleet.pids()[name]
    os.kill(pid, signal.SIGKILL)
    wait_until(f"{name} restarted", lambda: fleet.pids()[name] not in (0, program))
    wait_until(f"{name} ready", lambda: ready(url))


def test_no_request_fails_while_each_worker_and_master_is_killed(fleet: LocalFleet, picture: bytes) -> None:
    with steady_load(fleet.url, picture) as load:
        load.wait_for_answers(100)
        for index in range(2):
            for whose in (fleet.worker_pid, lambda i: fleet.pids()[f"cpu{i}"]):
                kill_and_wait(fleet, f"cpu{index}", fleet.instance_url(index), whose(index))
                load.wait_for_answers(100)
        wait_all_running(fleet)
    assert load.failures == []
    assert set(load.good) == {"cpu0", "cpu1"}


def test_a_stopped_instance_is_killed_in_time_for_its_requests_to_run_elsewhere(
    fleet: LocalFleet, picture: bytes
) -> None:
    stopped = fleet.worker_pid(0)
    with steady_load(fleet.url, picture) as load:
        load.wait_for_answers(50)
        os.kill(stopped, signal.SIGSTOP)
        wait_until("the stopped worker is gone", lambda: stopped not in {p.pid for p in fleet.processes()})
        wait_until("ready again", lambda: ready(fleet.instance_url(0)))
        load.wait_for_answers(50)
    assert load.failures == []
    assert "takes connections but answers nothing" in fleet.log("reviver")


def test_a_killed_nginx_master_is_replaced_beside_its_workers_which_then_finish(
    fleet: LocalFleet, picture: bytes
) -> None:
    killed = {process.pid for process in fleet.processes() if process.kind == "balancer"}
    # Connections that are kept open, so that none waits to be accepted at the moment a worker stops listening.
    with steady_load(fleet.url, picture) as load:
        load.wait_for_answers(50)
        kill_and_wait(fleet, "balancer", fleet.url, fleet.pids()["balancer"])
        wait_until("old workers gone", lambda: not killed & {process.pid for process in fleet.processes()})
        wait_until("connections are kept again", lambda: not fleet.paths.winding_down.exists())
        load.wait_for_answers(100)
    assert load.failures == []


def test_while_no_instance_listens_requests_wait_and_none_is_lost(
    new_fleet: Callable[[], LocalFleet], picture: bytes
) -> None:
    fleet = new_fleet()
    # Starting again takes 2 s, but more on a machine that does much else; a request is held up to its deadline.
    patient = {"deadline_ms": "30000"}
    fleet.up(1, **patient)
    large = picture + bytes(2**20)
    with (
        steady_load(fleet.url, picture) as kept,
        steady_load(fleet.url, picture, 2, keep_alive=False) as anew,
        steady_load(fleet.url, large, 2) as big,
    ):

        def everybody_answered() -> None:
            for load in (kept, anew, big):
                load.wait_for_answers(20)
                load.wait_for_everybody()

        everybody_answered()
        room = fleet.paths.waiting_room.stat()
        os.kill(fleet.pids()["reviver"], signal.SIGKILL)
        wait_until("a new room", lambda: fleet.paths.waiting_room.stat() != room)
        for whose in (lambda: fleet.worker_pid(0), lambda: fleet.pids()["cpu0"]):
            kill_and_wait(fleet, "cpu0", fleet.instance_url(0), whose())
            everybody_answered()
        os.kill(fleet.pids()["cpu0"], signal.SIGTERM)
        everybody_answered()
        fleet.up(1, conf="0.5", **patient)
        everybody_answered()
    assert (kept.failures, anew.failures, big.failures) == ([], [], [])
