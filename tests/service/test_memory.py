"""An instance that holds too much is drained and replaced; a peak is no reason."""

import json
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from service.memory import LOOKS, MIB, Ceiling, resident_bytes, shared_flag
from tests.instance import listens, running_instance, start_instance, stop_instance, wait_until
from tests.service.faulty_engine import HOLD, LEAK, LET_GO
from tests.service.held import UNLIMITED, picture

LIMIT_S = 60
GOOD = 7
CONF = "tests/service/faulty.conf.py"


def ceiling(held_mb: list[int], limit_mb: int = 100) -> Ceiling:
    """A ceiling that finds this much at its looks, the last one for ever."""
    return Ceiling(limit_mb, "", shared_flag(), lambda: (held_mb.pop(0) if len(held_mb) > 1 else held_mb[0]) * MIB)


def test_what_stays_over_the_ceiling_reaches_it() -> None:
    watched = ceiling([101])
    assert [watched.reached() for _ in range(LOOKS + 1)] == [False] * (LOOKS - 1) + [True, True]


def test_a_peak_does_not() -> None:
    watched = ceiling([101, 101, 100] * 5)
    assert not any(watched.reached() for _ in range(15))


def test_without_a_limit_nothing_does() -> None:
    watched = ceiling([10**6], limit_mb=0)
    assert not any(watched.reached() for _ in range(9))
    watched.watch(lambda: pytest.fail("there is nothing to reach"), sleep=lambda s: pytest.fail("or to wait for"))
    assert not watched.was_reached()


def test_who_shares_the_flag_learns_of_it() -> None:
    flag = shared_flag()
    worker, master = (Ceiling(100, "", flag, lambda: 101 * MIB) for _ in range(2))
    told: queue.Queue[str] = queue.Queue()
    assert not master.was_reached()
    worker.watch(lambda: told.put("reached"), sleep=lambda s: None)
    assert told.get(timeout=LIMIT_S) == "reached"
    assert master.was_reached()


def test_instances_have_ceilings_of_their_own_a_little_below_the_limit() -> None:
    limits = [Ceiling(1000, f"cpu{number}", shared_flag()).limit_mb for number in range(20)]
    assert len(set(limits)) > 5
    assert 900 <= min(limits) <= max(limits) <= 1000


def test_resident_memory_is_what_was_touched() -> None:
    before = resident_bytes()
    held = b"x" * (64 * MIB)
    assert 60 * MIB < resident_bytes() - before < 70 * MIB
    del held


def test_an_instance_over_its_ceiling_answers_what_is_in_flight_and_ends_with_a_code_of_its_own(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    settings = {**UNLIMITED, "max_memory_mb": 450, "cache": tmp_path, "quarantine": tmp_path / "quarantine"}
    port = free_port()
    with (
        running_instance(port, "-", tmp_path / "log", CONF, **settings) as instance,
        ThreadPoolExecutor(1) as pool,
    ):
        try:
            assert requests.post(f"{instance.url}/predict", picture(GOOD), timeout=LIMIT_S).status_code == 200
            files = [("image", picture(LEAK)), ("image", picture(HOLD))]
            sent = pool.submit(requests.post, f"{instance.url}/v1/detect", files=files, timeout=LIMIT_S)
            wait_until("the port is closed", lambda: not listens(port))
        finally:
            (tmp_path / LET_GO).touch()
        answer = sent.result(LIMIT_S)
        assert (answer.status_code, len(answer.json()["results"])) == (200, 2)
        assert instance.process.wait(LIMIT_S) == 72
    log = instance.log.read_text()
    events = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [event["exit_code"] for event in events if event["event"] == "memory_ceiling"] == [72]
    assert "pictures_blamed" not in [event["event"] for event in events]
    assert "Traceback" not in log


def test_a_ceiling_below_what_an_instance_needs_is_one_line_at_its_start(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    instance = start_instance(free_port(), "simulated:", tmp_path / "log", max_memory_mb=20)
    try:
        assert instance.process.wait(LIMIT_S) == 3
    finally:
        stop_instance(instance)
    (line,) = [line for line in instance.log.read_text().splitlines() if line.startswith("cannot start: ")]
    assert "FRAMEFLEET_MAX_MEMORY_MB" in line and line.endswith("raise it")
