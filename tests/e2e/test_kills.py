"""Processes that are killed under load come back, and no client is told of an instance's death."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.machine.control import Control
from deploy.machine.processes import PROC, is_stopped, serving_workers
from tests.e2e.fleet import LocalFleet, direct_session, ready, wait_until
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


@contextmanager
def broken_nginx_file(fleet: LocalFleet) -> Iterator[None]:
    text = fleet.paths.nginx_conf.read_text()
    fleet.paths.nginx_conf.write_text(text + "\nnonsense;\n")
    try:
        yield
    finally:
        fleet.paths.nginx_conf.write_text(text)


def test_workers_of_a_killed_nginx_master_serve_on_for_as_long_as_no_other_can_start(
    fleet: LocalFleet, picture: bytes
) -> None:
    old = {process.pid for process in fleet.processes() if process.kind == "balancer"}
    master = fleet.pids()["balancer"]
    # A note that cannot be written must not keep nginx from starting.
    fleet.paths.nginx_loaded.unlink()
    fleet.paths.nginx_loaded.mkdir()
    with steady_load(fleet.url, picture) as load:
        load.wait_for_answers(50)
        with broken_nginx_file(fleet):
            os.kill(master, signal.SIGKILL)
            wait_until("nginx has failed twice", lambda: fleet.log("balancer").count('directive "nonsense"') >= 2)
            load.wait_for_answers(100)
            assert {process.pid for process in fleet.processes()} >= old - {master}
        wait_until("another nginx", lambda: not old & {process.pid for process in fleet.processes()})
        load.wait_for_answers(100)
    assert load.failures == []
    wait_until("connections are kept again", lambda: not fleet.paths.winding_down.exists())


def wait_until_it_goes_on(pid: int) -> None:
    wait_until(f"{pid} stopped", lambda: is_stopped(pid))
    wait_until(f"{pid} going on", lambda: not is_stopped(pid))


def test_a_stopped_worker_or_master_of_nginx_or_supervisord_is_told_to_go_on_and_nobody_is_lost(
    fleet: LocalFleet, picture: bytes
) -> None:
    master = fleet.pids()["balancer"]
    worker = next(process.pid for process in fleet.processes() if process.parent == master)
    with steady_load(fleet.url, picture) as load:
        load.wait_for_answers(50)
        supervisord = next(process.pid for process in fleet.processes() if process.kind == "supervisord")
        for pid in (worker, master, supervisord):
            os.kill(pid, signal.SIGSTOP)
            wait_until_it_goes_on(pid)
            load.wait_for_answers(50)
    assert load.failures == []


def test_status_sees_that_one_of_nginxs_workers_is_silent(fleet: LocalFleet) -> None:
    master = fleet.pids()["balancer"]
    worker = next(process.pid for process in fleet.processes() if process.parent == master)
    with Control(fleet.paths) as control:
        control.stop("reviver")  # else the worker is told to go on before anybody looks
        os.kill(worker, signal.SIGSTOP)
        try:
            shown = fleet.run("status", "--var", str(fleet.var))
        finally:
            os.kill(worker, signal.SIGCONT)
            room = fleet.paths.waiting_room.stat()
            control.start("reviver")
    wait_until("the reviver is at work", lambda: fleet.paths.waiting_room.stat() != room)
    assert shown.returncode == 1
    assert "no: no answer within" in next(line for line in shown.stdout.splitlines() if line.startswith("balancer"))


def test_all_instances_and_the_reviver_stopped_at_once_go_on_and_nobody_is_lost(
    fleet: LocalFleet, picture: bytes
) -> None:
    pids = fleet.pids()
    # The reviver first, which nobody watches.
    stopped = [*(pids[name] for name in ("reviver", "cpu0", "cpu1")), *map(fleet.worker_pid, range(2))]
    with steady_load(fleet.url, picture) as load:
        load.wait_for_answers(50)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        wait_until("all of them going on", lambda: not any(map(is_stopped, stopped)))
        load.wait_for_answers(100)
    assert load.failures == []
    assert {process.pid for process in fleet.processes()} >= set(stopped)


def test_an_nginx_that_cannot_start_a_worker_again_is_replaced(fleet: LocalFleet) -> None:
    master = fleet.pids()["balancer"]
    worker = next(process.pid for process in fleet.processes() if process.parent == master)
    (size,) = (line for line in Path(f"/proc/{master}/status").read_text().splitlines() if line.startswith("VmSize"))
    bytes_now = int(size.split()[1]) * 1024
    resource.prlimit(master, resource.RLIMIT_AS, (bytes_now, bytes_now))  # out of memory
    os.kill(worker, signal.SIGKILL)
    wait_until("nginx gave up a worker", lambda: "cannot be respawned" in fleet.log("balancer"))
    wait_until("another nginx", lambda: fleet.pids()["balancer"] not in (0, master))
    wait_until("no old worker", lambda: len(serving_workers(fleet.paths)) == len(fleet_workers(fleet)))
    assert all(ready(fleet.url) for _ in range(20))


def fleet_workers(fleet: LocalFleet) -> list[int]:
    master = fleet.pids()["balancer"]
    return [process.pid for process in fleet.processes() if process.kind == "balancer" and process.parent == master]


def test_a_killed_supervisord_is_started_again_and_takes_everything_over_without_a_pause(
    fleet: LocalFleet, picture: bytes
) -> None:
    wait_all_running(fleet)
    left = {process.pid for process in fleet.processes()}
    supervisord = next(process.pid for process in fleet.processes() if process.kind == "supervisord")
    with steady_load(fleet.url, picture) as load:
        load.wait_for_answers(50)
        os.kill(supervisord, signal.SIGKILL)
        # Refusals are logged, and nobody reads what is logged now.
        wait_until("supervisord gone", lambda: not Path(f"/proc/{supervisord}").exists())
        with direct_session() as session:
            refused = [session.post(f"{fleet.url}/v1/detect", data=b"no picture", timeout=10) for _ in range(4)]
        assert {answer.status_code for answer in refused} == {415}
        wait_until("the old ones gone", lambda: not left & {process.pid for process in fleet.processes()}, 120)
        load.wait_for_answers(50)
    assert load.failures == []
    wait_all_running(fleet)
    assert set(fleet.pids()) == {"cpu0", "cpu1", "balancer", "reviver"}


def test_after_down_no_killed_supervisord_is_started_again(fleet: LocalFleet) -> None:
    supervisord = next(process.pid for process in fleet.processes() if process.kind == "supervisord")
    os.kill(supervisord, signal.SIGKILL)
    wait_until("a recovery under way", lambda: "deploy.guard.recovery" in commands(fleet))
    fleet.down()
    assert fleet.processes() == ()


def commands(fleet: LocalFleet) -> str:
    return " ".join((PROC / str(process.pid) / "cmdline").read_text() for process in fleet.processes())
