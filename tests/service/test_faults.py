"""What an engine's faults do to a real instance: nobody hangs, the process is replaced, the log says why."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.instance import RunningInstance, running_instance, wait_until
from tests.service import faulty_engine
from tests.service.held import picture

GOOD = 7
LIMIT_S = 60
MAX_BATCH = 4
HANGS = [faulty_engine.HANG, faulty_engine.HANG_WITH_GIL]
WATCHDOG_S = 3  # a good inference must not reach it, however busy the machine is


def send(instance: RunningInstance, mark: int) -> int:
    """The answer's status; 0 when the connection broke."""
    try:
        return requests.post(f"{instance.url}/predict", picture(mark), timeout=LIMIT_S).status_code
    except requests.ConnectionError:
        return 0


def admitted(instance: RunningInstance) -> int:
    return int(requests.get(f"{instance.url}/status", timeout=LIMIT_S).json()["queue"]["admitted"])


def events(instance: RunningInstance) -> list[str]:
    lines = [line for line in instance.log.read_text(errors="replace").splitlines() if line.startswith("{")]
    return [json.loads(line)["event"] for line in lines]


def assert_stacks(instance: RunningInstance) -> None:
    """The log has the stack of the thread that hung, and those of the others."""
    log = instance.log.read_text()
    assert "faulty_engine.py" in log and "in _fail" in log
    assert "Current thread 0x" in log and log.count("hread 0x") > 2
    assert "gthread.py" in log, "the main thread's"


@pytest.fixture
def instance(free_port: Callable[[], int], tmp_path: Path) -> Iterator[RunningInstance]:
    settings = {"watchdog_s": WATCHDOG_S, "self_test_s": 0, "cache": tmp_path}
    with running_instance(
        free_port(), "-", tmp_path / "log", "tests.service.workers.FaultyWorker", **settings
    ) as running:
        yield running


@pytest.mark.parametrize(
    ("fault", "exit_code", "event"),
    [
        (faulty_engine.HANG, 71, "engine_hang"),
        (faulty_engine.HANG_WITH_GIL, 71, "engine_hang"),
        (faulty_engine.FAULT, 70, "engine_fault"),
        (faulty_engine.BUG, 70, "engine_fault"),
        (faulty_engine.CRASH, 70, None),
    ],
    ids=["hang", "hang that holds the GIL", "sticky fault", "bug in the engine", "segmentation fault"],
)
def test_an_engine_beyond_repair_ends_the_process_and_no_request_hangs(
    fault: int, exit_code: int, event: str | None, instance: RunningInstance
) -> None:
    assert send(instance, GOOD) == 200
    with ThreadPoolExecutor() as pool:
        statuses = list(pool.map(lambda mark: send(instance, mark), [fault, GOOD, GOOD, GOOD]))
    # Broken connections are what lets the balancer run these requests on another instance.
    assert statuses[0] == 0 and set(statuses) <= {0, 200}
    assert instance.process.wait(LIMIT_S) == exit_code
    assert event is None or event in events(instance)
    assert instance.log.read_text(errors="replace").count("Reason: ") == 1


@pytest.mark.parametrize("fault", HANGS, ids=["hang", "hang that holds the GIL"])
def test_a_hang_leaves_every_threads_stack_in_the_log(fault: int, instance: RunningInstance) -> None:
    send(instance, fault)
    assert instance.process.wait(LIMIT_S) == 71
    assert_stacks(instance)


@pytest.mark.parametrize("fault", HANGS, ids=["hang", "hang that holds the GIL"])
def test_a_hang_is_ended_while_the_instance_drains(fault: int, instance: RunningInstance, tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        hanging = pool.submit(send, instance, fault)
        wait_until("it hangs", (tmp_path / faulty_engine.HANGING).exists)
        instance.process.terminate()
        assert hanging.result(LIMIT_S) == 0
    assert instance.process.wait(LIMIT_S) == 71
    assert "engine_hang" in events(instance)
    assert_stacks(instance)


@pytest.mark.parametrize("fault", HANGS, ids=["hang", "hang that holds the GIL"])
def test_a_hang_is_ended_though_the_master_is_stopped(fault: int, instance: RunningInstance) -> None:
    os.kill(instance.process.pid, signal.SIGSTOP)
    try:
        assert send(instance, fault) == 0
        assert_stacks(instance)
    finally:
        os.kill(instance.process.pid, signal.SIGCONT)
    assert instance.process.wait(LIMIT_S) == 71
    assert "engine_hang" in events(instance)


@pytest.mark.parametrize("fault", HANGS, ids=["hang", "hang that holds the GIL"])
def test_a_hang_with_two_batches_in_flight_is_ended(fault: int, free_port: Callable[[], int], tmp_path: Path) -> None:
    settings = {"watchdog_s": 8, "deadline_ms": 60_000, "self_test_s": 0, "cache": tmp_path}
    worker = "tests.service.workers.FaultyPipelineWorker"
    with running_instance(free_port(), "-", tmp_path / "log", worker, **settings) as instance:
        with ThreadPoolExecutor(1 + 2 * MAX_BATCH) as pool:
            first = pool.submit(send, instance, faulty_engine.HOLD)
            wait_until("a frame in the engine", (tmp_path / faulty_engine.HELD).exists)
            others = [pool.submit(send, instance, fault) for _ in range(2 * MAX_BATCH)]
            wait_until("two batches wait", lambda: admitted(instance) == 1 + 2 * MAX_BATCH)
            (tmp_path / faulty_engine.LET_GO).touch()
            assert {answer.result(LIMIT_S) for answer in others} == {0}
            assert first.result(LIMIT_S) in (0, 200), "written while the GIL was to be had, or not"
        assert instance.process.wait(LIMIT_S) == 71
        assert (tmp_path / faulty_engine.TWO_BEGUN).exists()
        assert_stacks(instance)


def test_a_self_test_that_hangs_is_ended(free_port: Callable[[], int], tmp_path: Path) -> None:
    settings = {"watchdog_s": WATCHDOG_S, "self_test_s": 0.2, "cache": tmp_path}
    worker = "tests.service.workers.FaultyWorker"
    with running_instance(free_port(), "-", tmp_path / "log", worker, **settings) as instance:
        assert send(instance, faulty_engine.STALL) == 200
        assert instance.process.wait(LIMIT_S) == 71
        assert "in repeat" in instance.log.read_text()
        assert_stacks(instance)


def test_out_of_memory_fails_its_own_request_only(instance: RunningInstance) -> None:
    worker = instance.worker_pid()
    with ThreadPoolExecutor() as pool:
        marks = [GOOD, faulty_engine.OUT_OF_MEMORY, GOOD, GOOD]
        statuses = list(pool.map(lambda mark: send(instance, mark), marks))
    assert statuses == [200, 503, 200, 200]
    assert instance.worker_pid() == worker


def test_a_device_that_answers_garbage_is_found_when_idle(free_port: Callable[[], int], tmp_path: Path) -> None:
    worker = "tests.service.workers.FaultyWorker"
    with running_instance(free_port(), "-", tmp_path / "log", worker, self_test_s=0.2) as instance:
        assert send(instance, faulty_engine.GARBLE) == 200
        assert instance.process.wait(LIMIT_S) == 70
        assert "self-test: the engine answered a frame differently" in instance.log.read_text()
