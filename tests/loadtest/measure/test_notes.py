"""What a reader should keep in mind stands below the figures."""

import pytest

from loadtest.measure.samples import Sample
from loadtest.measure.summary import Facts, Summary, summarise
from loadtest.report import results, table
from loadtest.target.reference import References
from loadtest.target.verdict import Verdict
from tests.loadtest.builders import detection, sample, to_table


def summary_of(rows: list[Sample]) -> Summary:
    return summarise(to_table(rows), Facts(len(rows), len(rows) / 10, 100.0, 0.1))


def references(*, detecting: int = 5, frames: int = 5, instances: tuple[str, ...] = ("gpu0",)) -> References:
    answers = tuple((detection(),) if frame < detecting else () for frame in range(frames))
    return References("digest", "/v1/detect", instances, answers)


def test_a_usual_run_has_none() -> None:
    assert results.notes_about(summary_of([sample(n) for n in range(100)]), references(), {0, 1, 2}) == ()


def test_a_clip_without_detections_comes_first() -> None:
    found = results.notes_about(summary_of([sample(n) for n in range(100)]), references(detecting=0), {0, 1, 2})
    assert found[0].startswith("the service finds something in no frame")


def test_only_frames_that_were_sent_count() -> None:
    found = results.notes_about(summary_of([sample(n) for n in range(100)]), references(detecting=2), {3, 4})
    assert found[0].startswith("the service finds something in no frame")


def test_an_instance_that_answered_only_before_the_load_is_named() -> None:
    found = results.notes_about(
        summary_of([sample(n) for n in range(100)]), references(instances=("gpu0", "gpu1")), {0}
    )
    assert found == ("gpu1 answered before the load, and gave no answer under it that was the same",)


@pytest.mark.parametrize(
    ("answers", "note"),
    [
        (10, "of 10 answers p95 and p99 are the slowest one; 100 tell more"),
        (99, "of 99 answers p99 is the slowest one; 100 tell more"),
    ],
)
def test_percentiles_of_too_few_answers_are_named(answers: int, note: str) -> None:
    assert results.notes_about(summary_of([sample(n) for n in range(answers)]), references(), {0}) == (note,)


def test_frames_without_an_answer_are_said_to_be_in_no_percentile() -> None:
    rows = [sample(n, verdict=Verdict.SHED if n % 2 else Verdict.SAME) for n in range(200)]
    (note,) = results.notes_about(summary_of(rows), references(), {0})
    assert note == "latency and service time are those of 100 answers; the other 100 frames are not in them"


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([sample(0, verdict=Verdict.FAILED, status=0)], "no instance answered as without load"),
        ([sample(0)], "one instance answered all"),
        ([sample(0), sample(1), sample(2, instance="gpu1")], "uneven: a share is 33.3% from its even part"),
    ],
    ids=["none", "one", "uneven"],
)
def test_a_balance_is_spoken_of_only_where_there_is_one(rows: list[Sample], text: str) -> None:
    assert text in table.render(summary_of(rows)).splitlines()
