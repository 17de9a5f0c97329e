"""Only a loss that is both large and certain fails."""

from dataclasses import replace

import pytest

from loadtest.capacity import gate
from loadtest.capacity.fits import Interval
from loadtest.capacity.records import Capacity
from loadtest.errors import OptionError
from loadtest.measure.machine import Machine
from tests.loadtest.capacity.builders import capacity, provenance


def with_interval(low: float, estimate: float, high: float) -> Capacity:
    return replace(capacity(), slo=Interval(low, estimate, high))


@pytest.mark.parametrize(
    ("now", "failed"),
    [
        ((98, 100, 102), False),
        ((80, 90, 99), False),
        ((80, 90, 97), True),
        ((94, 95.5, 97), False),
        ((94, 94.9, 97), True),
        ((120, 130, 140), False),
    ],
    ids=["the same", "large but uncertain", "large and certain", "certain but small", "just too much", "a gain"],
)
def test_the_gate(now: tuple[float, float, float], failed: bool) -> None:
    assert gate.compare(with_interval(*now), with_interval(98, 100, 102)).failed is failed


def test_the_comparison_is_told_in_a_sentence() -> None:
    text = gate.compare(with_interval(80, 90, 97), with_interval(98, 100, 102)).text
    assert text == (
        "90.0 frames/s (80.0 to 97.0) now, 100.0 frames/s (98.0 to 102.0) in the baseline: 10.0% less, intervals apart"
    )


def test_another_machine_is_mentioned() -> None:
    base = with_interval(98, 100, 102)
    moved = replace(base, provenance=replace(base.provenance, machine=Machine("Other", 8, 16.0, "Linux")))
    assert "made on another machine" in gate.compare(base, moved).text


def test_other_frames_are_mentioned() -> None:
    base = with_interval(98, 100, 102)
    large = replace(base, provenance=replace(base.provenance, frame="1920x1080, jpeg, quality 90"))
    assert "the baseline's frames were 1920x1080" in gate.compare(base, large).text


@pytest.mark.parametrize(
    ("baseline", "complaint"),
    [
        (replace(capacity(), slo_ms=50.0), "its SLO in ms is 50.0, not 100.0"),
        (capacity(instances=4), "4 instances, not 2"),
        (capacity(source=provenance(model={"name": "other"})), "its model is other, not centerface-320"),
        (replace(capacity(), slo=Interval(0, 0, 0)), "it held no rate"),
    ],
    ids=["slo", "size", "model", "idle"],
)
def test_what_was_not_measured_alike_is_not_compared(baseline: Capacity, complaint: str) -> None:
    with pytest.raises(OptionError, match=complaint):
        gate.compare(capacity(), baseline)
