"""An instance keeps to the CPUs it is given, and starts without those it cannot have."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from framefleet.machine.cpus import write_cpus
from service.cpus import keep_to_cpus, usable_threads
from tests.instance import running_instance

NOT_THERE = 99_999


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def test_without_any_given_it_keeps_all() -> None:
    before = os.sched_getaffinity(0)
    assert keep_to_cpus("") == ""
    assert os.sched_getaffinity(0) == before


def test_no_more_threads_compute_than_there_are_cpus() -> None:
    first = min(os.sched_getaffinity(0))
    assert keep_to_cpus(str(first)) == ""
    assert os.sched_getaffinity(0) == {first}
    assert [usable_threads(threads) for threads in (0, 1, 8)] == [1, 1, 1]


@pytest.mark.parametrize("with_one", [True, False], ids=["one is there", "none is there"])
def test_an_instance_starts_without_the_cpus_that_it_cannot_have(
    with_one: bool, free_port: Callable[[], int], tmp_path: Path
) -> None:
    allowed = os.sched_getaffinity(0)
    there = {min(allowed)} if with_one else set()
    log = tmp_path / "log"
    with running_instance(free_port(), "simulated:a_ms=1", log, cpus=write_cpus({*there, NOT_THERE})) as instance:
        assert os.sched_getaffinity(instance.worker_pid()) == (there or allowed)
    (said,) = (json.loads(line) for line in log.read_text().splitlines() if "cpus_not_used" in line)
    taken = write_cpus(there or allowed)
    assert said["reason"] == f"FRAMEFLEET_CPUS: {NOT_THERE} cannot be used here; it runs on {taken}"
