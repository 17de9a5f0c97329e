"""nginx's workers are watched by their state and by the connections that wait for each."""

import pytest

from deploy.guard.prober import MAX_ASKS, WORKER_PATIENCE, Deaths, Prober, Sighting, asks
from deploy.machine.processes import Process

SILENT = Sighting("silent")
STOPPED = Sighting("silent", stopped=True)


@pytest.mark.parametrize(("workers", "count"), [(0, 0), (1, 2), (2, 4), (64, MAX_ASKS)])
def test_a_round_asks_in_proportion_to_the_workers(workers: int, count: int) -> None:
    assert asks(workers) == count


@pytest.mark.parametrize(
    ("sightings", "signal"),
    [
        pytest.param([STOPPED], "CONT", id="stopped"),
        pytest.param([STOPPED, STOPPED], "KILL", id="stopped, and did not go on"),
        pytest.param([SILENT, SILENT], "KILL", id="stuck"),
        pytest.param([Sighting("silent", ticks) for ticks in range(10)], "KILL", id="spinning"),
        pytest.param([Sighting("silent", ticks) for ticks in range(9)], "", id="busy for a while"),
        pytest.param([SILENT, Sighting("answers"), SILENT], "", id="it accepts in between"),
    ],
)
def test_a_silent_worker_is_told_to_go_on_or_killed_while_others_answer(sightings: list[Sighting], signal: str) -> None:
    prober = Prober(WORKER_PATIENCE)
    verdicts = [
        prober.decide({"worker": sighting, "other": Sighting("answers")}, now, now + 1)
        for now, sighting in enumerate(sightings)
    ]
    assert "".join(verdict.signal for verdict in verdicts[-1]) == signal


MASTER, OLD, NEW = (Process(pid, parent, "balancer") for pid, parent in ((1, 0), (2, 1), (3, 1)))


@pytest.mark.parametrize(
    ("rounds", "masters"),
    [
        pytest.param([([MASTER, OLD], [2], False), ([MASTER, NEW], [3], False)], {1}, id="died"),
        pytest.param([([MASTER, OLD], [2], False), ([MASTER], [], False), ([MASTER], [], False)], {1}, id="still"),
        pytest.param([([MASTER, OLD], [2], True), ([MASTER, NEW], [3], False)], set(), id="a reload"),
        pytest.param([([MASTER, OLD], [], False), ([MASTER, NEW], [3], False)], set(), id="told to finish"),
        pytest.param([([MASTER, OLD], [2], False), ([], [], False)], set(), id="its master died too"),
        pytest.param([([MASTER, OLD], [2], False)] * 2, set(), id="nothing"),
    ],
)
def test_a_master_whose_worker_died_goes_on_counting_for_it(
    rounds: list[tuple[list[Process], list[int], bool]], masters: set[int]
) -> None:
    deaths = Deaths()
    found = [deaths.masters(nginx, serving, reloading=reloading) for nginx, serving, reloading in rounds]
    assert found[-1] == masters
