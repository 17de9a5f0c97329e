"""The table a person reads in the terminal."""

import math

import pytest

from loadtest.measure.summary import Facts, summarise
from loadtest.report import table
from loadtest.target.verdict import Verdict
from tests.loadtest.builders import sample, to_table


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0"), (15.42, "15.4"), (99.9, "99.9"), (99.97, "100"), (1006.1, "1006"), (math.nan, "-")],
)
def test_milliseconds(value: float, text: str) -> None:
    assert table.milliseconds(value) == text


def test_a_passed_run() -> None:
    rows = [sample(n, latency_ms=20 + n % 2, instance=f"gpu{n % 2}") for n in range(100)]
    text = table.render(summarise(to_table(rows), Facts(100, 10.0, 100.0, 0.1)))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for line in (
        "frames/s 10.00 of 10.00 offered",
        "late answers 0 0.0% of all frames, over 100 ms",
        "latency (scheduled) 20.0 21.0 21.0 21.0",
        "same 100 as without load",
        "changed 0 not as without load, or malformed",
        "gpu1 50 50.0% 20.0",
        "even: no share is further than 0.0% from its even part",
        "PASSED: all 100 answers were the same as without load",
    ):
        assert line in lines
    assert "shed" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_passed_run_says_how_many_answers_were_late() -> None:
    rows = [sample(n, latency_ms=500 if n < 3 else 20) for n in range(100)]
    text = table.render(summarise(to_table(rows), Facts(100, 10.0, 100.0, 0.1)))
    assert "PASSED: all 100 answers were the same as without load; 3 of them took over 100 ms" in text


def test_a_failed_run_shows_each_kind_and_the_doubts() -> None:
    rows = [sample(0), sample(1, verdict=Verdict.FAILED, status=0), sample(2, verdict=Verdict.DROPPED)]
    text = table.render(summarise(to_table(rows), Facts(4, 1.0, 100.0, 0.9)))
    assert "1 x no answer" in text
    assert "dropped" in text and "missing" in text
    assert "FAILED: failed requests: 1; never sent" in text
    assert text.count("times are not a valid measurement") == 2
