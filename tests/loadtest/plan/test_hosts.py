"""Hosts are as asked for, as measured, or as assumed; an option without effect is refused."""

import math
from dataclasses import replace

import pytest

from loadtest.errors import OptionError
from loadtest.plan import planner
from loadtest.plan.planner import Wishes
from loadtest.plan.records import Basis, Host
from tests.loadtest.plan.test_planner import MEASURED, PER_FRAME, basis

GPU = basis()
CPU = replace(GPU, source=replace(MEASURED, cpu_only=True, cores=2))


def made(known: Basis, **wishes: float) -> Host:
    return planner.choose_host(Wishes(**wishes), known)  # type: ignore[arg-type]


def test_a_cpu_fleet_is_planned_on_hosts_like_the_measured_one() -> None:
    found = made(CPU)
    assert (found.instances, found.gpus, found.cores) == (2, 0, 2.0)
    assert planner.host_warnings(found, CPU) == ()


def test_larger_cpu_hosts_have_instances_in_proportion_and_say_so() -> None:
    found = made(CPU, cores=8)
    assert (found.instances, found.cores) == (8, 8)
    assert planner.host_warnings(found, CPU) == ("a host of 8 cores is taken to hold 4 times the measured one",)
    assert made(CPU, instances=4).cores == 4


def test_fewer_cores_for_an_instance_than_measured_are_named() -> None:
    assert "0.25 cores an instance, 1 were measured" in planner.host_warnings(made(CPU, cores=2, instances=8), CPU)[0]


def test_cpu_hosts_whose_cores_nobody_knows_are_like_the_measured_one() -> None:
    known = replace(CPU, source=replace(CPU.source, cores=None))
    found = made(known)
    assert (found.instances, found.cores) == (2, None)
    assert "how many cores the measured fleet had is not known" in planner.host_warnings(found, known)[0]


def test_a_gpu_host_has_one_gpu_with_one_instance_and_says_what_is_assumed() -> None:
    found = made(GPU)
    assert (found.instances, found.gpus, found.cores) == (1, 1, 8.0)
    assert found.assumed == ("8 cores a host (--cores-per-host)", "1 Gbit/s a host (--nic-gbps)")
    assert made(GPU, cores=16, nic_gbps=10).assumed == ()


@pytest.mark.parametrize(
    ("known", "wishes", "complaint"),
    [
        (CPU, {"gpu_price": 2.0}, "--gpu-price=2: a CPU fleet was measured, its plan has no GPUs; give --batch-ms"),
        (CPU, {"gpu_price": 0.0}, "--gpu-price=0: a CPU fleet was measured"),
        (CPU, {"gpus": 1}, "--gpus-per-host=1: a CPU fleet was measured"),
        (GPU, {"gpus": 0, "gpu_price": 2.0}, "--gpu-price=2: hosts without GPUs were asked for"),
        (replace(GPU, per_frame=replace(PER_FRAME, cpu_ms=None)), {"cores": 8.0}, "--cores-per-host=8: no effect"),
    ],
    ids=["price", "no price", "GPUs", "price without GPUs", "cores"],
)
def test_an_option_without_effect_is_refused(known: Basis, wishes: dict[str, float], complaint: str) -> None:
    with pytest.raises(OptionError, match=complaint):
        made(known, **wishes)


@pytest.mark.parametrize(
    ("wishes", "warning"),
    [
        ({"gpus": 0}, "without them they will not do as much"),
        ({"gpus": 1, "instances": 4}, "4 instances for 1 GPU: each is taken to do what one did"),
        ({"gpus": 4, "instances": 1}, "--instances-per-host=1: 3 GPUs of a host idle"),
    ],
    ids=["no GPU", "shared", "idle"],
)
def test_hosts_unlike_what_was_measured_are_named(wishes: dict[str, float], warning: str) -> None:
    assert warning in planner.host_warnings(made(GPU, **wishes), GPU)[0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 1e308])
@pytest.mark.parametrize("name", ["instances", "gpus", "cores", "nic_gbps", "host_price", "gpu_price"])
def test_senseless_values_are_refused(name: str, value: float) -> None:
    with pytest.raises(OptionError, match=f"--{name[:3]}.*: must be from"):
        made(GPU, **{name: value})
