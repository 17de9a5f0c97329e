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
        (capacity(source=provenance(engine={})), "does not say whether it used a GPU"),
        (capacity(source=replace(provenance(), detecting=0.0)), "finds next to nothing"),
    ],
    ids=["unbounded", "unverified", "wide", "no cpu", "simulated", "unknown device", "nothing to see"],
)
def test_what_makes_a_measurement_doubtful_is_passed_on(measured: Capacity, warning: str) -> None:
    assert any(warning in text for text in basis([measured], None).warnings)


def test_a_good_measurement_has_no_warnings() -> None:
    elsewhere = replace(provenance(), url="http://10.0.0.7:8080")
    assert basis([capacity(source=elsewhere)], None).warnings == ()


def test_who_made_the_load_on_the_fleets_own_machine_is_told_what_that_costs() -> None:
    assert "shared its machine with what made the load" in basis([capacity()], None).warnings[0]


def test_cores_are_known_only_of_the_machine_that_made_the_load_too() -> None:
    assert basis([capacity()], None).source.cores == 2
    assert basis([capacity(source=replace(provenance(), url="http://fleet"))], None).source.cores is None


@pytest.mark.parametrize("url", ["", "http://[::1", "nothing"])
def test_an_address_that_is_none_is_not_this_machine(url: str) -> None:
    assert basis([capacity(source=replace(provenance(), url=url))], None).source.cores is None


def test_cpu_and_gpu_fleets_are_not_mixed() -> None:
    gpu = provenance(engine={"kind": "onnxruntime", "device": "cuda:0", "note": ""})
    with pytest.raises(OptionError, match="its device is cuda, not cpu"):
        basis([capacity(), capacity(instances=1, source=gpu)], None)


def test_another_gpu_of_the_same_kind_is_the_same_device() -> None:
    one, other = (provenance(engine={"kind": "trt", "device": f"cuda:{n}", "note": ""}) for n in (0, 1))
    assert not basis([capacity(source=one), capacity(instances=1, source=other)], None).source.cpu_only


def test_a_size_measured_twice_is_named() -> None:
    assert any("measured in 2 files, the last one counts" in text for text in basis([capacity()] * 2, None).warnings)


def test_a_limit_slower_than_anything_measured_is_only_a_lower_bound() -> None:
    warnings = basis([capacity()], 5000.0).warnings
    assert any("was never so slow and may hold more" in text for text in warnings)


def test_other_sizes_of_a_file_are_left_out_for_another_limit_and_that_is_said() -> None:
    one = capacity(57.0, instances=2, others=[capacity(30.0, instances=1)])
    assert any("other sizes in its file are left out" in text for text in basis([one], 50.0).warnings)


def test_measurements_of_different_models_are_not_mixed() -> None:
    with pytest.raises(OptionError, match="its model is other"):
        basis([capacity(), capacity(instances=1, source=provenance(model={"name": "other"}))], None)


def test_without_a_measurement_there_is_no_plan() -> None:
    with pytest.raises(OptionError, match="make capacity"):
        basis([], None)
