"""What an engine's faults do to a real instance: nobody hangs, the process is replaced, the log says why."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.instance import RunningInstance, running_instance
from tests.service import faulty_engine
from tests.service.held import picture

GOOD = 7
LIMIT_S = 60
WATCHDOG_S = 3  # a good inference must not reach it, however busy the machine is


def send(instance: RunningInstance, mark: int) -> int:
    """The answer's status; 0 when the connection broke."""
    try:
        return requests.post(f"{instance.url}/predict", picture(mark), timeout=LIMIT_S).status_code
    except requests.ConnectionError:
        return 0


def events(instance: RunningInstance) -> list[str]:
    lines = [line for line in instance.log.read_text(errors="replace").splitlines() if line.startswith("{")]
    return [json.loads(line)["event"] for line in lines]


@pytest.fixture
def instance(free_port: Callable[[], int], tmp_path: Path) -> Iterator[RunningInstance]:
    settings = {"watchdog_s": WATCHDOG_S, "self_test_s": 0}
    with running_instance(free_port(), "-", tmp_path / "log", "tests/service/faulty.conf.py", **settings) as running:
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


def test_a_hang_leaves_every_threads_stack_in_the_log(instance: RunningInstance) -> None:
    send(instance, faulty_engine.HANG)
    instance.process.wait(LIMIT_S)
    log = instance.log.read_text()
    assert f"Timeout (0:00:0{WATCHDOG_S})!" in log and "faulty_engine.py" in log and "in _fail" in log


def test_out_of_memory_fails_its_own_request_only(instance: RunningInstance) -> None:
    worker = instance.worker_pid()
    with ThreadPoolExecutor() as pool:
        marks = [GOOD, faulty_engine.OUT_OF_MEMORY, GOOD, GOOD]
        statuses = list(pool.map(lambda mark: send(instance, mark), marks))
    assert statuses == [200, 503, 200, 200]
    assert instance.worker_pid() == worker


def test_a_device_that_answers_garbage_is_found_when_idle(free_port: Callable[[], int], tmp_path: Path) -> None:
    conf = "tests/service/faulty.conf.py"
    with running_instance(free_port(), "-", tmp_path / "log", conf, self_test_s=0.2) as instance:
        assert send(instance, faulty_engine.GARBLE) == 200
        assert instance.process.wait(LIMIT_S) == 70
        assert "self-test: the engine answered a frame differently" in instance.log.read_text()
