"""A step and its samples become a row."""

import math

import numpy as np
import pytest

from loadtest.capacity.reduction import per_second, reduce
from loadtest.measure.samples import SampleTable
from loadtest.measure.step import Counts, Generator, Step
from loadtest.measure.summary import InstanceShare, Percentiles
from loadtest.target.verdict import Verdict
from tests.loadtest.capacity.builders import table


def step(*, ok: int = 8, offered: int = 10, late: int = 2, stages: dict[str, float] | None = None) -> Step:
    times = Percentiles(20.0, 30.0, 40.0, 50.0) if ok else Percentiles(*(math.nan,) * 4)
    return Step(
        name="sweep-10",
        folder="steps/sweep-10",
        arrivals="poisson",
        streams=1,
        asked_fps=5.0,
        sent_fps=5.0,
        ok_fps=ok / 2,
        goodput_fps=(ok - late) / 2,
        seconds=2.0,
        slo_ms=100.0,
        counts=Counts(offered, ok, late, 0, offered - ok, 0, 0, 0, 0),
        latency=times,
        latency_mean_ms=22.0 if ok else math.nan,
        service=times,
        service_mean_ms=21.0 if ok else math.nan,
        in_flight_mean=0.4995,
        stages={"infer": 12.0} if stages is None else stages,
        outside_ms=3.0,
        instances=(InstanceShare("gpu0", ok, 1.0, 30.0, math.nan),) if ok else (),
        generator=Generator(1, 0.2, 1.0, math.nan),
        invalid=(),
    )


def samples() -> SampleTable:
    """Ten frames over two seconds after a warm-up of one, each 100 ms in flight; the last two were refused."""
    made = table((1.0 + n / 5, 1.0 + n / 5, 1.0999 + n / 5, "gpu0", 12.0) for n in range(-5, 10))
    made["verdict"][-2:] = Verdict.SHED.value
    return made


def test_frames_are_counted_in_the_second_they_fell_due_after_the_warm_up() -> None:
    assert per_second(samples(), 101.0, 1.0, 2.0) == ((5, 5), (5, 3))


def test_an_answer_after_the_limit_or_none_is_not_in_time() -> None:
    made = samples()
    made["done_s"][5] = np.nan
    made["done_s"][6] += 1.0
    assert per_second(made, 101.0, 1.0, 2.0) == ((5, 5), (3, 3))


def test_late_and_refused_frames_lower_the_part_in_time() -> None:
    assert reduce("sweep", 1, step(), samples(), 1.0).in_time == pytest.approx(0.6)


def test_the_generators_own_lateness_can_be_told_apart() -> None:
    made = samples()
    made["sent_s"] += 0.05
    made["done_s"] += 0.05
    row = reduce("sweep", 1, step(ok=8, late=8), made, 1.0)
    assert (row.in_time, row.in_time_sent) == (0.0, pytest.approx(0.8))


def test_littles_law_multiplies_rate_and_wait_of_all_that_were_sent() -> None:
    little = reduce("sweep", 1, step(), samples(), 1.0).little
    assert little is not None
    assert little.rate_times_wait == pytest.approx(5 * 0.0999)
    assert little.error == pytest.approx(0, abs=1e-6)


def test_what_is_unknown_is_none_and_not_nan() -> None:
    row = reduce("sweep", 1, step(), samples(), 1.0)
    assert row.shares[0].infer_ms is None
    assert row.generator_cpu is None
    assert reduce("sweep", 1, step(stages={}), samples(), 1.0).outside_ms is None


def test_a_step_without_an_answer_has_no_times() -> None:
    row = reduce("sweep", 1, step(ok=0, late=0), samples()[:0], 1.0)
    assert (row.times, row.little, row.batch, row.in_time) == (None, None, None, 0.0)
    assert row.seconds_offered == (0, 0)
