"""The simulated fleet agrees with queueing theory, keeps every frame, and survives a host."""

from dataclasses import replace

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.plan.fleet_model import Fleet, LeastConn, Model
from loadtest.plan.simulation import HostFailure, Load, arrivals, simulate

ONE_BY_ONE = Model(a_ms=10, b_ms=0, spread_ms=0, max_batch=1, queue_size=10**6, around_ms=0)
BATCHES = Model(a_ms=10, b_ms=1, spread_ms=0.3, max_batch=8, queue_size=32, around_ms=3)
RANDOM = Load(
    instances=1, instances_per_host=1, fps=70, streams=0, seconds=500, warm_s=5, slo_ms=100, seed=1, failures=()
)


@pytest.mark.parametrize("busy", [0.5, 0.7, 0.85])
def test_one_instance_without_batches_is_an_m_d_1_queue(busy: float) -> None:
    found = simulate(ONE_BY_ONE, replace(RANDOM, fps=100 * busy, seconds=2000))
    # Pollaczek-Khinchine for a constant service time s: s + busy * s / (2 * (1 - busy)).
    assert found.mean_ms == pytest.approx(10 + busy * 10 / (2 * (1 - busy)), rel=0.08)
    assert found.utilisation == pytest.approx(busy, rel=0.03)


def test_batches_hold_what_their_cost_allows_and_no_more() -> None:
    # 8 frames in 18 ms are 444 a second.
    assert simulate(BATCHES, replace(RANDOM, fps=300, seconds=60)).shed == 0
    over = simulate(BATCHES, replace(RANDOM, fps=600, seconds=60, warm_s=0))
    assert over.ok / 60 == pytest.approx(444, rel=0.02)
    assert over.ok + over.shed == over.offered


def test_two_instances_that_share_a_queue_wait_less_than_two_that_do_not() -> None:
    alone = simulate(ONE_BY_ONE, RANDOM)
    together = simulate(ONE_BY_ONE, replace(RANDOM, instances=2, fps=140))
    assert together.mean_ms < alone.mean_ms


def test_the_same_seed_gives_the_same_outcome() -> None:
    assert simulate(BATCHES, RANDOM) == simulate(BATCHES, RANDOM)
    assert simulate(BATCHES, RANDOM) != simulate(BATCHES, replace(RANDOM, seed=2))


failures = st.builds(HostFailure, st.integers(1, 3), st.floats(0.01, 3), st.floats(3, 9))
loads = st.builds(
    Load,
    instances=st.integers(1, 12),
    instances_per_host=st.integers(1, 4),
    fps=st.floats(1, 800),
    streams=st.integers(0, 50),
    seconds=st.floats(0.5, 5),
    warm_s=st.just(0.0),
    slo_ms=st.just(100.0),
    seed=st.integers(0, 100),
    failures=st.lists(st.builds(HostFailure, st.integers(1, 3), st.floats(0.01, 3), st.floats(3, 9)), max_size=2).map(
        tuple
    ),
)


@settings(deadline=None, max_examples=80)
@given(loads)
def test_every_frame_is_answered_refused_or_lost(load: Load) -> None:
    found = simulate(BATCHES, load)
    assert found.ok + found.shed + found.lost == found.offered
    assert 0 <= found.utilisation <= 1.2


def test_a_failed_host_costs_no_frame_when_others_have_room() -> None:
    down = HostFailure(1, 5.0, 99.0)
    load = replace(RANDOM, instances=8, instances_per_host=2, fps=1200, seconds=20, failures=(down,))
    found = simulate(BATCHES, load)
    assert found.retried > 0
    assert (found.lost, found.shed, found.ok) == (0, 0, found.offered)


def test_thousands_of_instances_can_be_simulated() -> None:
    # Each instance gets a frame every 40 ms, in turn: 5 ms into a round the first hosts are at work.
    down = HostFailure(50, 0.325, 99.0)
    load = replace(RANDOM, instances=4000, instances_per_host=8, fps=100_000, seconds=1, warm_s=0, failures=(down,))
    found = simulate(BATCHES, load)
    assert (found.ok, found.lost, found.shed) == (found.offered, 0, 0)
    assert found.retried > 0


def test_frames_are_lost_only_while_no_instance_is_there() -> None:
    outage = HostFailure(1, 5.0, 6.0)
    found = simulate(BATCHES, replace(RANDOM, fps=100, seconds=10, warm_s=0, failures=(outage,)))
    assert found.lost == pytest.approx(100, rel=0.4)
    assert found.ok + found.lost == found.offered


def test_cameras_send_at_their_rate_out_of_step() -> None:
    due = arrivals(replace(RANDOM, streams=10, fps=50, seconds=20))
    assert len(due) == pytest.approx(1000, abs=10)
    assert due == sorted(due)
    # In each period of 0.2 s every camera sends once, at its own moment.
    assert np.diff(due[::10]) == pytest.approx(0.2)
    assert len({round(moment % 0.2, 6) for moment in due}) <= 20


def test_random_arrivals_have_the_rate_that_was_asked_for() -> None:
    assert len(arrivals(replace(RANDOM, fps=200, seconds=100))) == pytest.approx(20_000, rel=0.03)


def test_the_balancer_takes_the_emptiest_instance_and_equals_in_turn() -> None:
    balancer = LeastConn(["a", "b", "c"])
    picked = []
    for _ in range(3):
        picked.append(balancer.pick() or "")
        balancer.note(picked[-1], 1)
    assert picked == ["a", "b", "c"]
    balancer.note("b", 0)
    assert balancer.pick() == "b"
    balancer.remove("b")
    assert balancer.pick() == "a"


def test_no_instance_left_is_no_pick() -> None:
    fleet = Fleet(simpy.Environment(), ONE_BY_ONE, 1, seed=1)
    fleet.fail(fleet.instances)
    fleet.send(0.0)
    assert fleet.lost == 1
