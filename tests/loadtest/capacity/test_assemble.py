"""A sweep becomes a capacity, and capacity.json gives the same one back."""

from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.capacity import records
from loadtest.capacity.assemble import SweepFindings, assemble, recovery_s, timelines
from loadtest.capacity.records import Capacity
from loadtest.errors import OptionError, RunError
from loadtest.measure import run_folder
from tests.loadtest.capacity.builders import SLO_MS, batch_fit, capacity, provenance, row


def test_a_capacity_has_its_figures() -> None:
    found = capacity(60.0)
    assert found.bounded
    assert found.slo.low <= found.slo.estimate <= found.slo.high
    assert found.slo.estimate == pytest.approx(61, rel=0.03)
    assert found.verified_fps == pytest.approx(60, rel=0.05)
    assert (found.instances, found.repetitions) == (2, 5)


def test_capacity_json_gives_the_same_capacity_back(tmp_path: Path) -> None:
    found = capacity(batch=batch_fit())
    run_folder.write(found, tmp_path / records.FILE)
    assert records.read(tmp_path) == found
    assert records.read(tmp_path / records.FILE) == found


@pytest.mark.parametrize(
    ("text", "complaint"),
    [(None, "No such file"), ("{}", "make it again"), ("not json", "make it again")],
    ids=["missing", "empty", "broken"],
)
def test_a_file_that_is_no_capacity_is_named(tmp_path: Path, text: str | None, complaint: str) -> None:
    if text is not None:
        (tmp_path / records.FILE).write_text(text)
    with pytest.raises(RunError, match=f"capacity.json: .*{complaint}"):
        records.read(tmp_path / records.FILE)


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    run_folder.write(replace(capacity(), format=99), tmp_path / records.FILE)
    with pytest.raises(RunError, match="format 99"):
        records.read(tmp_path)


def test_without_a_valid_step_there_is_no_capacity() -> None:
    rows = (row(10, 0.5, doubts=("the generator sent late",), sent_in_time=1.0),)
    with pytest.raises(RunError, match="no step is a valid measurement: the generator sent late"):
        assemble(SweepFindings(SLO_MS, rows, None, 5, None, None, (), provenance()))


def test_fleets_of_other_sizes_give_the_scaling() -> None:
    one = capacity(30.0, instances=1)
    law = capacity(57.0, instances=2, others=[one]).scaling
    assert [point.instances for point in law.points] == [1, 2]
    assert law.contention > 0
    assert capacity(57.0, instances=2).scaling.measured == 1


def test_a_fleet_measured_anew_replaces_the_earlier_measurement() -> None:
    law = capacity(60.0, instances=2, others=[capacity(90.0, instances=2)]).scaling
    assert len(law.points) == 1
    assert law.points[0].fps == pytest.approx(61, rel=0.03)


@pytest.mark.parametrize(
    "other",
    [replace(capacity(instances=1), slo_ms=20.0), capacity(instances=1, source=provenance(engine={"kind": "trt"}))],
    ids=["slo", "engine"],
)
def test_scaling_is_only_taken_from_the_same(other: Capacity) -> None:
    with pytest.raises(OptionError, match="compare measurements of the same"):
        capacity(others=[other])


def test_the_time_to_recover_ends_with_the_last_bad_second() -> None:
    assert recovery_s([10, 10, 10, 10], [2, 9, 10, 10]) == 2
    assert recovery_s([10, 10], [10, 10]) == 0
    assert recovery_s([10, 10], [10, 5]) is None
    assert recovery_s([], []) is None


def test_more_than_the_capacity_that_is_answered_all_the_same_is_no_overload() -> None:
    (line,) = timelines([row(60, kind="overload")], slo_ms=100)
    assert line.title == "No overload"
    assert (
        line.text
        == "Offered 90.0 frames/s it was not overloaded: 100.0% came in time; the capacity is higher than was found"
    )


def test_overload_is_told_with_its_goodput_and_recovery() -> None:
    made = replace(
        row(60, kind="overload"),
        seconds_offered=(90,) * 12 + (30,) * 12,
        seconds_in_time=(58,) * 12 + (0, *(30,) * 11),
    )
    (line,) = timelines([row(10), made], slo_ms=100)
    assert "Offered 90.0 frames/s it answered 58.0 in time" in line.text
    assert "at 30.0 it met the SLO again after 1 s" in line.text
    assert line.marks == ((0.0, "x1.5"), (12.0, "x0.5"))
    assert "QUEUE_SIZE" not in line.text
    (line,) = timelines([replace(made, stages={"queue": 420.0})], slo_ms=100)
    assert "queues alone took 420 ms, a smaller FRAMEFLEET_QUEUE_SIZE" in line.text
