"""A plan grows with its demand, keeps a spare host, and its units are right."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.capacity.fits import ScalePoint, Scaling
from loadtest.errors import OptionError
from loadtest.plan.planner import cell_size, gbps, instances_for, plan
from loadtest.plan.records import Basis, Demand, Host, PerFrame, Plan, Prices, Source

LINEAR = Scaling(10.0, 0.0, 0.0, (ScalePoint(1, 10.0), ScalePoint(2, 20.0)), 2, False)
PER_FRAME = PerFrame(50_000.0, 500.0, 5.0)
MEASURED = Source("made up", "640x480", cpu_only=False, typed=False, instances=2, cores=None)
LARGE = Host(instances=8, gpus=8, cores=64, nic_gbps=25)


def basis(law: Scaling = LINEAR, per_frame: PerFrame = PER_FRAME) -> Basis:
    return Basis(MEASURED, law, 100.0, per_frame, ())


def planned(streams: int, fps: float = 10.0, known: Basis | None = None, host: Host = LARGE) -> Plan:
    return plan(known or basis(), Demand(streams, fps), host, Prices())


laws = st.builds(
    lambda one, contention, coherency: Scaling(one, contention, coherency, (ScalePoint(4, 4 * one),), 3, False),
    st.floats(0.5, 500),
    st.floats(0, 0.5) | st.just(0.0),
    st.floats(0, 0.05) | st.just(0.0),
)
hosts = st.builds(Host, st.integers(1, 16), st.integers(0, 8), st.floats(1, 128), st.floats(0.1, 100))
frames = st.builds(PerFrame, st.floats(1e3, 1e7), st.floats(10, 1e5), st.floats(0, 100) | st.none())


@settings(deadline=None, max_examples=200)
@given(st.builds(basis, laws, frames), hosts, st.integers(1, 5000), st.integers(1, 2000), st.floats(0.1, 60))
def test_more_streams_never_need_fewer_hosts(known: Basis, host: Host, streams: int, more: int, fps: float) -> None:
    small, large = planned(streams, fps, known, host), planned(streams + more, fps, known, host)
    assert large.hosts >= small.hosts
    assert large.hosts_needed >= small.hosts_needed
    assert large.instances >= small.instances
    assert large.gpus >= small.gpus


@settings(deadline=None, max_examples=200)
@given(st.builds(basis, laws, frames), hosts, st.integers(1, 5000), st.floats(0.1, 60))
def test_with_any_one_host_down_nothing_is_used_beyond_the_target(
    known: Basis, host: Host, streams: int, fps: float
) -> None:
    found = planned(streams, fps, known, host)
    for cell in found.cells:
        assert cell.hosts_with_spare == cell.hosts + 1
        assert cell.hosts * host.instances >= cell.instances
    assert found.hosts == found.hosts_needed + len(found.cells)
    assert max(use.share for use in found.uses) <= found.demand.target * (1 + 1e-6)
    assert sum(cell.rate_fps for cell in found.cells) == pytest.approx(streams * fps)


@settings(deadline=None)
@given(st.integers(1, 1000), st.integers(1, 20), st.integers(1, 5))
def test_only_the_product_of_streams_and_rate_counts(streams: int, fps: int, factor: int) -> None:
    one, other = planned(streams * factor, fps), planned(streams, fps * factor)
    assert (one.hosts, one.instances, one.network_gbps) == (other.hosts, other.instances, other.network_gbps)


@settings(deadline=None)
@given(laws, st.floats(1, 1e5), st.floats(0.1, 1))
def test_no_fewer_instances_would_do(law: Scaling, rate: float, target: float) -> None:
    try:
        count = instances_for(law, rate, target)
    except OptionError:
        assert law.fps(cell_size(law)) * target < rate
        return
    assert law.fps(count) * target >= rate * (1 - 1e-6)
    assert count == 1 or law.fps(count - 1) * target < rate


def test_the_example_by_hand() -> None:
    # 400 x 25 = 10,000 frames/s; at 70 % an instance carries 7, so 1,429 of them, 179 hosts of 8, and one spare.
    found = planned(400, 25, host=replace(LARGE, nic_gbps=100))
    assert (found.rate_fps, found.instances, found.hosts_needed, found.hosts, found.gpus) == (
        10_000,
        1429,
        179,
        180,
        1440,
    )
    # 50 kB = 400 kbit each, 5 ms of CPU each.
    assert found.network_gbps == pytest.approx(4.0)
    assert found.cores == pytest.approx(50)
    assert found.uses[0].name == "instances"


def test_exactly_filled_instances_need_no_further_one() -> None:
    assert planned(7, 1.0, host=Host()).instances == 1
    assert planned(70, 1.0, host=Host()).instances == 10


def test_the_slowest_cameras_that_may_be_asked_for_need_a_host_too() -> None:
    found = planned(1, 0.0001)
    assert (found.instances, found.hosts_needed, found.hosts) == (1, 1, 2)
    assert planned(1, 0.0001, basis(replace(LINEAR, one_fps=1e9))).hosts == 2


def test_hosts_whose_cores_are_not_known_are_not_planned_with_cores() -> None:
    heavy = basis(per_frame=replace(PER_FRAME, cpu_ms=100.0))
    found = planned(56, 10.0, heavy, replace(LARGE, cores=None))
    assert found.hosts_needed == 10
    assert "hosts' CPU" not in [use.name for use in found.uses]


def test_units() -> None:
    assert gbps(1000, 125_000) == pytest.approx(1.0)


def test_cpu_or_network_may_need_more_hosts_than_the_engines_do() -> None:
    # 560 frames/s need 10 hosts of 8 instances. With 0.7 of a core each, 10 ms of CPU a frame need 8, 100 ms need 80.
    weak = Host(instances=8, gpus=8, cores=1, nic_gbps=25)
    assert planned(56, 10.0, basis(per_frame=replace(PER_FRAME, cpu_ms=10.0)), weak).hosts_needed == 10
    heavy = planned(56, 10.0, basis(per_frame=replace(PER_FRAME, cpu_ms=100.0)), weak)
    assert (heavy.hosts_needed, heavy.uses[0].name) == (80, "hosts' CPU")
    thin = basis(per_frame=PerFrame(1_000_000.0, 500.0, 5.0))
    narrow = Host(instances=8, gpus=8, cores=64, nic_gbps=1)
    found = planned(56, 10.0, thin, narrow)
    assert "network" in found.uses[0].name
    assert len(found.cells) > 1


def test_a_balancer_that_is_full_gets_a_neighbour() -> None:
    law = Scaling(10.0, 0.02, 0.0001, (ScalePoint(1, 10.0), ScalePoint(4, 37.0)), 3, False)
    found = planned(1000, 10.0, basis(law))
    assert len(found.cells) > 1
    assert all(cell.instances <= cell_size(law) for cell in found.cells)


def test_a_cell_stops_growing_where_instances_do_half_of_what_one_alone_does() -> None:
    law = Scaling(10.0, 0.1, 0.0, (), 2, False)
    assert cell_size(law) == 11
    assert law.fps(11) == pytest.approx(55)


def test_prices_make_a_cost() -> None:
    found = plan(basis(), Demand(56, 10.0), LARGE, Prices(host=100, gpu=10))
    assert found.cost == found.hosts * (100 + 8 * 10)
    assert planned(56).cost is None


def test_a_plan_beyond_twice_of_what_was_measured_warns() -> None:
    assert not planned(28, 1.0, host=Host()).warnings
    assert "2.5 times the 2 that were measured" in planned(35, 1.0, host=Host()).warnings[0]


def test_growth_that_was_never_measured_warns() -> None:
    single = replace(LINEAR, points=(ScalePoint(2, 20.0),), measured=1)
    assert "growth is assumed to be linear" in planned(1, 1.0, basis(single)).warnings[0]


@pytest.mark.parametrize(
    ("demand", "host", "complaint"),
    [
        (Demand(0, 25), LARGE, "--streams=0: must be from 1 to 1,000,000"),
        (Demand(10**12, 25), LARGE, "--streams=1000000000000: must be"),
        (Demand(1, math.inf), LARGE, "--fps=inf"),
        (Demand(1, math.nan), LARGE, "--fps=nan"),
        (Demand(1, 1e-6), LARGE, "--fps=1e-06: must be from 0.0001 to 10,000"),
        (Demand(1, 1e308), LARGE, r"--fps=1e\+308"),
        (Demand(1, 25, p95_ms=-1.0), LARGE, "--p95-ms=-1.0"),
        (Demand(1, 25, target=1.2), LARGE, "--target=1.2: must be from 0.01 to 1"),
        (Demand(1, 25), replace(LARGE, nic_gbps=1e-300), "--nic-gbps=1e-300"),
        (Demand(1_000_000, 25.0), Host(nic_gbps=0.001), "would need over 1,000,000 balancers; check the options"),
        (Demand(1_000_000, 100.0), Host(nic_gbps=10_000), "would need 14,.* hosts; check the options"),
        (Demand(1, 25), Host(instances=0), "--instances-per-host=0"),
        (Demand(1, 25), Host(gpus=-1), "--gpus-per-host=-1"),
    ],
    ids=[
        *("no streams", "many streams", "endless", "no number", "hardly ever", "all at once", "limit", "overfull"),
        *("no network", "too many balancers", "too many hosts", "no instance", "negative"),
    ],
)
def test_senseless_demands_are_refused(demand: Demand, host: Host, complaint: str) -> None:
    with pytest.raises(OptionError, match=complaint):
        plan(basis(), demand, host, Prices())


@pytest.mark.parametrize(("prices", "complaint"), [(Prices(gpu=-1), "--gpu-price=-1"), (Prices(host=math.inf), "inf")])
def test_senseless_prices_are_refused(prices: Prices, complaint: str) -> None:
    with pytest.raises(OptionError, match=complaint):
        plan(basis(), Demand(1, 25), LARGE, prices)
