"""What a row says follows from samples, logs and what was allowed."""

from pathlib import Path

import pytest

from chaos.load import Outcome, Sample
from chaos.observation import Observation, mark, observe, p99, who_noticed


def samples(**outcomes: int) -> list[Sample]:
    return [Sample(0, 10, outcome, outcome) for outcome, count in outcomes.items() for _ in range(count)]  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "cpu0.log").write_text('{"event": "engine_hang"}\n')
    return tmp_path


def row(folder: Path, found: list[Sample], allowed: int = 0, broken: str = "") -> Observation:
    return observe("a fault", found, [], mark(folder), folder, strong_s=1, allowed=allowed, broken=broken)


@pytest.mark.parametrize("outcome", ["failed", "refused"])
def test_as_many_may_be_lost_as_are_allowed(folder: Path, outcome: Outcome) -> None:
    lost = samples(right=10, **{outcome: 2})
    assert [row(folder, lost, allowed).met for allowed in (1, 2, 3)] == [False, True, True]


def test_a_wrong_answer_is_never_allowed(folder: Path) -> None:
    assert not row(folder, samples(right=10, wrong=1), allowed=5).met


def test_a_broken_promise_is_not_met(folder: Path) -> None:
    assert not row(folder, samples(right=10), broken="it killed four instances").met


def test_slow_answers_are_counted_but_not_lost(folder: Path) -> None:
    found = row(folder, [Sample(0, 1500, "right"), Sample(0, 900, "right")])
    assert (found.slow, found.lost, found.worst_ms, found.met) == (1, 0, 1500, True)


def test_only_what_was_logged_since_counts_even_after_rotation(folder: Path) -> None:
    before = mark(folder)
    log = folder / "log" / "cpu0.log"
    assert who_noticed(before, folder) == ()
    with log.open("a") as file:
        file.write("[ERROR] Reason: worker 7 of cpu0 died\n")
    assert who_noticed(before, folder) == ("gunicorn master",)
    log.write_text("engine_hang")
    assert who_noticed(before, folder) == ()
    log.write_text("cannot start: x")
    (folder / "log" / "reviver.log").write_text("cpu0: takes connections but answers nothing for 2.1 s")
    assert who_noticed(before, folder) == ("instance before it listens", "prober")


def test_the_99th_percentile_is_a_nearest_rank() -> None:
    assert [p99(values) for values in ([], [5.0], [float(n) for n in range(1, 101)])] == [0, 5, 99]


def test_good_answers_have_to_stay_quick_where_that_is_expected(folder: Path) -> None:
    calm, now = [Sample(0, 10, "right")], [Sample(0, 15, "right")]

    def met(times: float) -> bool:
        return observe("f", now, calm, mark(folder), folder, strong_s=0, allowed=0, p99_times=times).met

    assert [met(times) for times in (0, 1.5, 1.4)] == [True, True, False]
    limited = [observe("f", now, [], mark(folder), folder, strong_s=0, allowed=0, p99_limit_ms=ms) for ms in (15, 14)]
    assert [found.met for found in limited] == [True, False]
