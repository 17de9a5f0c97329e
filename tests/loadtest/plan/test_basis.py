"""Measurements of one or several fleets give a planner its figures."""

from dataclasses import replace

import pytest

from loadtest.capacity.fits import Interval
from loadtest.capacity.records import Capacity
from loadtest.errors import OptionError
from loadtest.plan.basis import basis
from tests.loadtest.capacity.builders import capacity, provenance


def test_several_fleets_give_a_scaling() -> None:
    known = basis([capacity(30.0, instances=1), capacity(57.0, instances=2)], None)
    assert [point.instances for point in known.scaling.points] == [1, 2]
    assert known.scaling.contention > 0
    assert known.p95_ms == 100


def test_one_file_brings_the_fleets_it_was_fitted_with() -> None:
    one = capacity(57.0, instances=2, others=[capacity(30.0, instances=1)])
    assert [point.instances for point in basis([one], None).scaling.points] == [1, 2]


def test_a_limit_of_its_own_is_read_off_the_curve() -> None:
    strict = basis([capacity(60.0)], 40.0)
    # The made-up service takes 20 + 60 * load^4 ms: 40 ms at a load of (1/3)^(1/4).
    assert strict.scaling.fps(2) == pytest.approx(60 * (1 / 3) ** 0.25, rel=0.05)
    assert strict.p95_ms == 40


def test_a_limit_faster_than_anything_measured_is_refused() -> None:
    with pytest.raises(OptionError, match=r"--p95-ms=10: the fastest measured p95 is 2\d\.\d ms"):
        basis([capacity()], 10.0)


def test_a_frame_costs_as_much_as_in_the_dearest_measurement() -> None:
    known = basis([capacity(instances=1, cpu_ms=4.0), capacity(cpu_ms=6.0)], None)
    assert known.per_frame.cpu_ms == 6.0
    assert known.per_frame.request_bytes == 50_000


@pytest.mark.parametrize(
    ("measured", "warning"),
    [
        (replace(capacity(), bounded=False), "never reached its limit"),
        (replace(capacity(), verified_fps=None), "no rate that held every time"),
        (replace(capacity(), slo=Interval(40, 60, 70)), "uncertain: 40.0 to 70.0"),
        (capacity(cpu_ms=None), "says nothing about CPU"),
        (capacity(source=provenance(engine={"kind": "simulated"})), "simulated accelerator"),
    ],
    ids=["unbounded", "unverified", "wide", "no cpu", "simulated"],
)
def test_what_makes_a_measurement_doubtful_is_passed_on(measured: Capacity, warning: str) -> None:
    assert any(warning in text for text in basis([measured], None).warnings)


def test_a_good_measurement_has_no_warnings() -> None:
    assert basis([capacity()], None).warnings == ()


def test_measurements_of_different_models_are_not_mixed() -> None:
    with pytest.raises(OptionError, match="its model is other"):
        basis([capacity(), capacity(instances=1, source=provenance(model={"name": "other"}))], None)


def test_without_a_measurement_there_is_no_plan() -> None:
    with pytest.raises(OptionError, match="make capacity"):
        basis([], None)
