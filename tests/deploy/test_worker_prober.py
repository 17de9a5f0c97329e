"""nginx's workers are watched by their state and by the connections that wait for each."""

import pytest

from deploy.prober import Prober, Sighting
from deploy.worker_prober import MAX_ASKS, WORKER_PATIENCE, asks

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
