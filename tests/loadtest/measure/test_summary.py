"""Results are exact, and nothing is counted twice or lost."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.measure.samples import Sample
from loadtest.measure.summary import Facts, Summary, order_statistics, shortcomings, summarise
from loadtest.target.verdict import Verdict
from tests.loadtest.builders import sample, to_table


def summary_of(rows: list[Sample], **facts: float) -> Summary:
    given_facts: dict[str, float] = {"arrivals": len(rows), "seconds": 10.0, "slo_ms": 100.0, "generator_cpu": 0.1}
    given_facts |= facts
    return summarise(to_table(rows), Facts(int(given_facts.pop("arrivals")), **given_facts))


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=300))
def test_percentiles_are_observed_values_with_the_right_rank(values: list[float]) -> None:
    found = order_statistics(np.array(values))
    ordered = sorted(values)
    for value, part in ((found.p50, 50), (found.p95, 95), (found.p99, 99)):
        assert value == ordered[-(-len(ordered) * part // 100) - 1]
    assert found.worst == ordered[-1]


def test_percentiles_of_a_known_distribution() -> None:
    values = np.random.default_rng(1).exponential(20.0, 200_000)
    found = order_statistics(values)
    for value, quantile in ((found.p50, 0.5), (found.p95, 0.95), (found.p99, 0.99)):
        assert value == pytest.approx(-20.0 * math.log(1 - quantile), rel=0.01)
    assert found.p95 == pytest.approx(np.percentile(values, 95), rel=1e-3)


def test_no_value_has_no_percentile() -> None:
    assert math.isnan(order_statistics(np.array([])).p95)


def test_latency_counts_from_the_schedule_and_service_time_from_the_send() -> None:
    found = summary_of([sample(n, latency_ms=50, lateness_ms=20) for n in range(100)])
    assert found.latency.p95 == pytest.approx(50)
    assert found.service.p95 == pytest.approx(30)
    assert found.lateness.p99 == pytest.approx(20)


def test_only_right_answers_have_a_latency() -> None:
    rows = [sample(n) for n in range(9)]
    rows.append(sample(9, latency_ms=5000, verdict=Verdict.FAILED, status=0))
    rows.append(sample(10, latency_ms=0.5, verdict=Verdict.SHED, status=503))
    found = summary_of(rows)
    assert (found.latency.p50, found.latency.worst) == (pytest.approx(20), pytest.approx(20))


def test_late_frames_are_right_answers_over_the_slo() -> None:
    rows = [sample(0, latency_ms=99), sample(1, latency_ms=101), sample(2, latency_ms=101, verdict=Verdict.CHANGED)]
    found = summary_of(rows)
    assert (found.late, found.late_share) == (1, pytest.approx(1 / 3))
    assert shortcomings(summary_of([sample(0, latency_ms=5000)])) == ()


def test_rates_are_offered_and_achieved() -> None:
    rows = [sample(n) for n in range(80)]
    rows += [sample(n, verdict=Verdict.SHED, status=503) for n in range(80, 100)]
    found = summary_of(rows)
    assert (found.offered_fps, found.achieved_fps) == (10.0, 8.0)


def test_answers_after_the_end_lower_the_achieved_rate() -> None:
    assert summary_of([sample(n, latency_ms=11_000) for n in range(100)]).achieved_fps == pytest.approx(100 / 20.9)


def test_every_arrival_is_counted_once() -> None:
    rows = [sample(n, verdict=verdict) for n, verdict in enumerate(Verdict)]
    found = summary_of(rows, arrivals=10)
    assert found.counts == {verdict.value: 1 for verdict in Verdict}
    assert found.missing == 4
    assert sum(found.counts.values()) + found.missing == found.offered


def test_dropped_frames_count_but_have_no_times() -> None:
    found = summary_of([sample(0), sample(1, verdict=Verdict.DROPPED)])
    assert found.counts["dropped"] == 1
    assert found.lateness.worst == pytest.approx(1.0)
    assert any("never sent" in doubt for doubt in found.doubts)


def test_failures_are_told_apart_by_status() -> None:
    statuses = (500, 0, 500)
    rows = [sample(n, verdict=Verdict.FAILED, status=status) for n, status in enumerate(statuses)]
    assert summary_of(rows).failures == {0: 1, 500: 2}


@pytest.mark.parametrize(
    ("first", "imbalance", "even"), [(50, 0.0, True), (55, 0.1, True), (60, 0.2, False), (100, 0.0, True)]
)
def test_shares_and_their_distance_from_even(first: int, imbalance: float, even: bool) -> None:
    rows = [sample(n, instance="gpu0" if n < first else "gpu1") for n in range(100)]
    found = summary_of(rows)
    assert [one.right for one in found.instances] == [n for n in (first, 100 - first) if n]
    assert sum(one.share for one in found.instances) == pytest.approx(1)
    assert (found.imbalance, found.even) == (pytest.approx(imbalance), even)


def test_stages_and_what_lies_outside_them_add_up_to_the_service_time() -> None:
    found = summary_of([sample(n) for n in range(10)])
    assert found.stages == pytest.approx({"decode": 0.5, "queue": 0.1, "infer": 10.0, "post": 0.2})
    assert sum(found.stages.values()) + found.outside_ms == pytest.approx(19.0)


@pytest.mark.parametrize(
    ("rows", "cpu", "doubt"),
    [
        ([sample(n, lateness_ms=6.0) for n in range(10)], 0.1, "sent late: p99 6.0 ms"),
        ([sample(n) for n in range(10)], 0.9, "used 90% of its core"),
    ],
    ids=["late", "busy"],
)
def test_an_overloaded_generator_makes_the_run_invalid_but_not_failed(
    rows: list[Sample], cpu: float, doubt: str
) -> None:
    found = summary_of(rows, generator_cpu=cpu)
    assert [text for text in found.doubts if doubt in text]
    assert shortcomings(found) == ()


def test_a_calm_generator_leaves_no_doubt() -> None:
    assert summary_of([sample(n) for n in range(10)]).doubts == ()
    assert summary_of([sample(n) for n in range(10)], generator_cpu=math.nan).doubts == ()


@pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if verdict is not Verdict.SAME])
def test_anything_but_right_is_a_shortcoming(verdict: Verdict) -> None:
    (text,) = shortcomings(summary_of([sample(0), sample(1, verdict=verdict)]))
    assert text.endswith(": 1")


def test_missing_answers_and_empty_runs_are_shortcomings() -> None:
    assert shortcomings(summary_of([sample(0)], arrivals=3)) == ("without a sample, the run was cut short: 2",)
    assert shortcomings(summary_of([])) == ("no frame fell due",)
