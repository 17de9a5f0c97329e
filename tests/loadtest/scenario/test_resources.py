"""Growth of memory and descriptors is seen, from outside."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.scenario.resources import FEWEST, Reading, growth, read, watched
from loadtest.target.target import Reply
from tests.instance import running_instance
from tests.loadtest.waiting import wait_until


def readings(name: str, memory: Callable[[int], float], number: int = 40) -> list[Reading]:
    return [Reading(name, memory(n), 20.0 + (n >= number // 2)) for n in range(number)]


def test_growth_is_that_of_the_worst_instance_after_its_warm_up() -> None:
    calm = readings("gpu0", lambda n: 100.0 if n >= 10 else 10.0 * n)
    leaking = readings("gpu1", lambda n: 100.0 + n)
    found = growth([*calm, *leaking])
    assert (found.memory_mib, found.descriptors) == (20.0, 1.0)
    assert growth(calm).memory_mib == 0.0


def test_a_few_readings_say_nothing() -> None:
    found = growth(readings("gpu0", lambda n: n, FEWEST - 1))
    assert math.isnan(found.memory_mib) and math.isnan(found.descriptors)


def test_an_instance_that_was_started_again_is_counted_and_one_read_too_seldom_is_not_watched() -> None:
    steady = readings("gpu0", lambda n: 100.0)
    again = [replace(one, started_s=float(n > 20)) for n, one in enumerate(readings("gpu1", lambda n: 100.0))]
    found = growth([*steady, *again, *readings("gpu2", lambda n: 1.0, FEWEST - 1)])
    assert (found.restarts, found.watched) == (1, {"gpu0", "gpu1"})


@pytest.mark.parametrize("body", [b"", b"process_open_fds 7.0\n", b"<html>"])
def test_a_service_without_these_metrics_gives_no_reading(body: bytes) -> None:
    assert read(Reply(200, body, "gpu0")) is None


def test_a_real_instance_is_watched_from_when_it_is_there(free_port: Callable[[], int], tmp_path: Path) -> None:
    port = free_port()
    with watched(f"http://127.0.0.1:{port}", every_s=0.01) as so_far:
        assert so_far() == []
        with running_instance(port, "simulated:a_ms=1", tmp_path / "log", instance="gpu0"):
            wait_until(lambda: len(so_far()) >= FEWEST)
            found = so_far()
    assert {one.instance for one in found} == {"gpu0"}
    assert all(10 < one.memory_mib < 10_000 and one.descriptors > 5 for one in found)
    assert not math.isnan(growth(found).memory_mib)
    assert {one.started_s > 1e9 for one in found} == {True}
    assert growth(found).restarts == 0
