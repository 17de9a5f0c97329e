"""What scenarios are judged by."""

import math
from dataclasses import replace

import pytest

from loadtest.measure.samples import Sample
from loadtest.measure.step import Counts, Generator, Step
from loadtest.measure.summary import Percentiles
from loadtest.scenario.figures import STEP_FIGURES, meets_slo, of_step, relief
from loadtest.target.verdict import Verdict
from tests.loadtest.builders import sample, to_table

COUNTS = Counts(offered=200, ok=190, late=4, wrong=0, shed=6, rejected=0, failed=0, dropped=4, missing=0)
TIMES = Percentiles(10.0, 20.0, 30.0, 40.0)
STEP = Step(
    name="step",
    folder="folder",
    arrivals="poisson",
    streams=1,
    asked_fps=20.0,
    sent_fps=20.0,
    ok_fps=19.0,
    goodput_fps=18.6,
    seconds=10.0,
    slo_ms=100.0,
    counts=COUNTS,
    latency=TIMES,
    latency_mean_ms=12.0,
    service=TIMES,
    service_mean_ms=11.0,
    in_flight_mean=0.2,
    stages={},
    outside_ms=1.0,
    instances=(),
    generator=Generator(1, 0.1, 0.5, 0.2),
    invalid=(),
)


def test_shares_are_of_all_frames_that_fell_due() -> None:
    found = of_step(STEP)
    assert tuple(found) == STEP_FIGURES
    assert (found["late_share"], found["dropped_share"]) == (0.02, 0.02)
    # Refused frames never came either.
    assert found["late_or_never"] == 0.07
    assert (found["shed_share"], found["p99_ms"], found["failed"]) == (0.03, 30.0, 0.0)


def test_a_frame_without_a_sample_is_a_failure() -> None:
    assert of_step(replace(STEP, counts=replace(COUNTS, missing=3, failed=2)))["failed"] == 5.0


@pytest.mark.parametrize(
    ("changes", "meets"),
    [
        ({}, True),
        ({"late": 6}, False),
        ({"ok": 188}, False),
        ({"wrong": 1}, False),
        ({"failed": 1}, False),
        ({"missing": 1}, False),
        ({"offered": 0, "ok": 0, "late": 0}, False),
    ],
)
def test_the_slo_is_met_by_so_great_a_share_of_all_frames_and_no_fault(changes: dict[str, int], meets: bool) -> None:
    assert meets_slo(replace(STEP, counts=replace(COUNTS, **changes)), 0.93) is meets


def overloaded(*, bad_until_s: float) -> list[Sample]:
    """10 frames per second for 40 s, the overload for 20 s; every second frame is shed until the given moment."""
    rows = []
    for n in range(400):
        shed = n % 2 == 1 and n / 10 < bad_until_s
        rows.append(sample(n, verdict=Verdict.SHED if shed else Verdict.SAME, status=503 if shed else 200))
    return rows


def test_goodput_and_throughput_are_those_of_the_overload_after_its_first_second() -> None:
    found = relief(to_table(overloaded(bad_until_s=23)), over_s=20, end_s=40, slo_ms=100)
    assert (found.goodput_fps, found.throughput_fps) == pytest.approx((5.0, 5.0))
    late = relief(to_table(overloaded(bad_until_s=23)), over_s=20, end_s=40, slo_ms=10)
    assert (late.goodput_fps, late.throughput_fps) == pytest.approx((0.0, 5.0))


def test_half_of_the_frames_answered_is_an_overload_and_all_of_them_is_none() -> None:
    assert relief(to_table(overloaded(bad_until_s=23)), over_s=20, end_s=40, slo_ms=100).overloaded
    calm = relief(to_table([sample(n) for n in range(400)]), over_s=20, end_s=40, slo_ms=100)
    assert (calm.offered_fps, calm.overloaded) == (pytest.approx(10.0), False)


def test_nothing_answered_is_an_overload_too() -> None:
    rows = [sample(n, verdict=Verdict.FAILED, status=0) for n in range(400)]
    assert relief(to_table(rows), over_s=20, end_s=40, slo_ms=100).overloaded


@pytest.mark.parametrize(
    ("bad_until_s", "recovery_s"), [(20, 0.0), (23, 3.0), (40, math.nan)], ids=["at once", "later", "never"]
)
def test_recovery_is_when_the_first_good_second_begins(bad_until_s: float, recovery_s: float) -> None:
    found = relief(to_table(overloaded(bad_until_s=bad_until_s)), over_s=20, end_s=40, slo_ms=100)
    # Looked for in steps of a tenth of a second.
    assert found.recovery_s == pytest.approx(recovery_s, abs=0.11, nan_ok=True)


def test_one_late_frame_long_after_an_overload_does_not_count() -> None:
    rows = [sample(n, latency_ms=900 if n == 350 else 20) for n in range(400)]
    assert relief(to_table(rows), over_s=20, end_s=40, slo_ms=100).recovery_s == 0.0
