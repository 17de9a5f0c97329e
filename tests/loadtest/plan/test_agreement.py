"""The simulation is built from a measurement, and says where it is off."""

from dataclasses import replace

import pytest

from loadtest.capacity.records import Capacity
from loadtest.errors import OptionError
from loadtest.plan import agreement
from loadtest.plan.simulation import Load, simulate
from tests.loadtest.capacity.builders import batch_fit, capacity, row


def as_simulated(found: Capacity, offset_ms: float = 0.0) -> Capacity:
    """The same fleet, had its measured latencies been the simulated ones plus an offset."""
    model = agreement.model_of(found)

    def lived(fps: float) -> tuple[float, float]:
        load = Load(found.instances, found.instances, fps, 0, 60.0, 2.0, found.slo_ms, 9)
        outcome = simulate(model, load)
        return outcome.p50_ms + offset_ms, outcome.p95_ms + offset_ms

    rows = []
    for one in found.rows:
        p50, p95 = lived(one.asked_fps)
        rows.append(replace(one, times=replace(one.times, p50_ms=p50, p95_ms=p95)) if one.times else one)
    return replace(found, rows=tuple(rows))


def test_the_model_is_what_was_measured() -> None:
    model = agreement.model_of(capacity(batch=batch_fit(10, 1)))
    assert (model.a_ms, model.b_ms) == (pytest.approx(10), pytest.approx(1))
    assert (model.max_batch, model.queue_size) == (8, 32)
    # Service time of the quietest step without its queue and engine.
    assert model.around_ms >= 0


def test_without_batches_every_frame_is_its_own() -> None:
    model = agreement.model_of(capacity(batch=None))
    assert (model.max_batch, model.b_ms) == (1, 0.0)


def test_a_fleet_that_behaves_as_the_model_agrees_everywhere() -> None:
    found = as_simulated(capacity(batch=batch_fit()))
    text = agreement.text(agreement.compare(found, agreement.model_of(found), seed=1))
    # A rate that was verified five times is one rate.
    held = len({one.asked_fps for one in found.rows if one.holds and one.kind != "overload"})
    assert text == f"simulated and measured fleet agree at {held} of {held} rates"


def test_a_fleet_that_is_slower_than_the_model_is_named_with_its_figures() -> None:
    found = as_simulated(capacity(batch=batch_fit()), offset_ms=50)
    lines = agreement.text(agreement.compare(found, agreement.model_of(found), seed=1)).splitlines()
    assert lines[0].startswith("simulated and measured fleet agree at 0 of")
    assert "p50" in lines[1] and "measured" in lines[1]
    assert len(lines) <= agreement.MOST_LINES + 2


def test_the_rates_that_differ_most_are_shown_in_order() -> None:
    far = [agreement.Agreement(float(n), 10.0, 10.0, 10.0 + 5 * n, 10.0) for n in (3, 9, 1, 8, 7, 6, 2)]
    lines = agreement.text(far).splitlines()
    assert [line.split()[1] for line in lines[1:-1]] == ["3.0", "6.0", "7.0", "8.0", "9.0"]


def test_a_service_that_names_no_stage_cannot_be_simulated() -> None:
    silent = replace(capacity(), rows=(replace(row(10), stages={}),))
    with pytest.raises(OptionError, match="no stage times"):
        agreement.model_of(silent)


def test_nothing_measured_is_nothing_compared_and_nothing_to_believe() -> None:
    assert agreement.text(()) == "no measured step to hold the simulation against"
    assert not agreement.credible(())


@pytest.mark.parametrize(("agreeing", "credible"), [(0, False), (2, False), (3, True), (4, True)])
def test_three_of_four_rates_make_a_simulation_credible(agreeing: int, credible: bool) -> None:
    rates = [agreement.Agreement(float(n), 10, 10, 10, 10 if n < agreeing else 99) for n in range(4)]
    assert agreement.credible(rates) is credible
    assert ("75% of them wanted" in agreement.text(rates)) is not credible


def test_a_rate_that_missed_more_often_than_it_held_is_not_compared() -> None:
    rows = (row(10), row(20), row(20, 0.1), row(20, 0.1))
    found = replace(capacity(batch=batch_fit()), rows=rows)
    assert [one.fps for one in agreement.compare(found, agreement.model_of(found), seed=1)] == [10]
