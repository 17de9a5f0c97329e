"""A step says what its samples say."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.measure import run_folder, step
from loadtest.measure.run_folder import EndRecord, RunRecord
from loadtest.measure.samples import Sample
from loadtest.measure.step import Step
from loadtest.options import ReplayOptions
from loadtest.target.verdict import Verdict
from tests.loadtest.builders import make_run, sample, to_table

END = EndRecord(True, 10.0, 0.25, 2)


@pytest.fixture(scope="module")
def record(sample_video: Path, tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    folder = tmp_path_factory.mktemp("run")
    make_run(folder, sample_video, [])
    return run_folder.read(folder / run_folder.RUN, RunRecord)


def made(record: RunRecord, rows: list[Sample], end: EndRecord | None = END, **options: object) -> Step:
    chosen = replace(ReplayOptions(cameras=1, fps=10.0, seconds=10.0), **options)  # type: ignore[arg-type]
    due = sum(row.scheduled_s >= chosen.warmup_s for row in rows)
    filled = replace(record, options=chosen, arrivals=0 if chosen.closed else due)
    return step.make("step", "folder", filled, end, to_table(rows))


def test_every_arrival_is_counted_once_and_late_ones_twice(record: RunRecord) -> None:
    rows = [sample(n, verdict=verdict) for n, verdict in enumerate(Verdict)] + [sample(6, latency_ms=150)]
    counts = made(record, rows).counts
    assert (counts.offered, counts.ok, counts.late) == (7, 2, 1)
    others = (counts.wrong, counts.shed, counts.rejected, counts.failed, counts.dropped)
    assert others == (1, 1, 1, 1, 1)


def test_rates_leave_the_warm_up_out(record: RunRecord) -> None:
    rows = [sample(n, latency_ms=500 if n < 20 else 150 if n < 36 else 20) for n in range(100)]
    found = made(record, rows, warmup_s=2.0)
    assert (found.seconds, found.asked_fps) == (8.0, 10.0)
    assert (found.sent_fps, found.goodput_fps) == (10.0, 8.0)
    # Five answers to frames of the warm-up came in the counted time, and are throughput.
    assert found.ok_fps == pytest.approx((80 + 5) / 8)
    assert found.latency.worst == pytest.approx(150)


def test_littles_law_holds_between_figures_that_were_found_apart(record: RunRecord) -> None:
    found = made(record, [sample(n, latency_ms=400, lateness_ms=0) for n in range(100)])
    assert found.in_flight_mean == pytest.approx(found.ok_fps * found.service_mean_ms / 1e3, rel=0.05)


def test_a_closed_loop_offers_what_it_sent(record: RunRecord) -> None:
    found = made(record, [sample(n, lateness_ms=0) for n in range(50)], arrivals="closed", cameras=4)
    assert (found.asked_fps, found.streams, found.counts.offered, found.counts.missing) == (0.0, 4, 50, 0)


def test_a_camera_that_holds_a_frame_back_is_no_late_generator(record: RunRecord) -> None:
    held = [replace(sample(n, lateness_ms=50), held_s=0.05) for n in range(100)]
    dropped = [sample(n, verdict=Verdict.DROPPED) for n in range(100, 110)]
    found = made(record, held + dropped, keep="newest")
    assert found.generator.lateness_p99_ms == pytest.approx(0, abs=1e-6)
    assert found.valid


@pytest.mark.parametrize(
    ("rows", "end", "options", "reason"),
    [
        ([sample(n, lateness_ms=6) for n in range(100)], END, {"slo_ms": 1000.0}, "p99 6.0 ms after schedule, limit 5"),
        ([sample(n, lateness_ms=3) for n in range(100)], END, {}, "p99 3.0 ms after schedule, limit 2 ms"),
        ([sample(0)], replace(END, generator_cpu=0.9), {}, "used 90% of its core, limit 85%"),
        ([sample(0), sample(1, verdict=Verdict.DROPPED)], END, {}, "out of connections, 1 frames were never sent"),
        ([sample(0)], replace(END, starved=3), {"keep": "newest"}, "out of connections for 3 frames; raise `ulimit"),
        ([sample(0)], None, {}, "a load generator died"),
    ],
    ids=["late by 5 ms", "late by 2 % of the SLO", "busy", "out of connections", "out of descriptors", "dead"],
)
def test_an_overloaded_generator_is_no_measurement(
    record: RunRecord, rows: list[Sample], end: EndRecord | None, options: dict[str, object], reason: str
) -> None:
    found = made(record, rows, end, **options)
    assert not found.valid
    assert any(reason in text for text in found.invalid), found.invalid


def test_a_run_that_was_cut_short_is_no_measurement(record: RunRecord) -> None:
    filled = replace(record, options=ReplayOptions(cameras=1, fps=10.0, seconds=10.0), arrivals=100)
    found = step.make("step", "folder", filled, END, to_table([sample(n) for n in range(90)]))
    assert found.counts.missing == 10
    assert found.invalid == ("the run was cut short: 10 frames left no sample",)


def test_without_a_right_answer_there_are_no_times(record: RunRecord) -> None:
    found = made(record, [sample(n, verdict=Verdict.SHED, status=503) for n in range(5)])
    assert math.isnan(found.latency.p99) and math.isnan(found.latency_mean_ms)
    assert (found.ok_fps, found.goodput_fps, found.instances) == (0.0, 0.0, ())
