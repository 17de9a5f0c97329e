import pytest

from service.protocols.ops import recent
from service.protocols.ops.recent import Recent


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_fresh_instance_has_no_figures() -> None:
    figures = Recent(Clock()).figures()
    assert (figures.requests, figures.rate, figures.p50_ms, figures.p95_ms) == (0, 0.0, None, None)


def test_good_answers_make_rate_and_percentiles_and_others_are_counted_apart() -> None:
    clock = Clock()
    answers = Recent(clock)
    for ms in range(1, 101):
        clock.now += 0.2
        answers.record(float(ms), 200)
    for status in (400, 503, 503, 500):
        answers.record(9999.0, status)
    figures = answers.figures()
    assert (figures.window_s, figures.requests, figures.rate) == (20.0, 104, 5.0)
    assert (figures.p50_ms, figures.p95_ms) == (50.0, 95.0)
    assert (figures.shed, figures.failed) == (2, 1)


def test_answers_leave_the_window_after_a_minute() -> None:
    clock = Clock()
    answers = Recent(clock)
    answers.record(5.0, 200)
    clock.now += 59
    answers.record(7.0, 200)
    clock.now += 2
    figures = answers.figures()
    assert (figures.window_s, figures.requests, figures.p50_ms) == (60.0, 1, 7.0)


def test_a_flood_shortens_the_window_instead_of_growing_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MOST", 10)
    clock = Clock()
    answers = Recent(clock)
    for _ in range(30):
        clock.now += 1
        answers.record(5.0, 200)
    figures = answers.figures()
    assert (figures.window_s, figures.requests, figures.rate) == (9.0, 10, pytest.approx(1.11))
