"""The sweep finds what a service holds, and spends its steps where they count."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.capacity.row import Row
from loadtest.capacity.sweep import Ask, Sweep, SweepOptions
from loadtest.errors import TargetError
from loadtest.frames.pattern import Phase
from tests.loadtest.capacity.builders import limited


def swept(measure: Callable[[Ask], Row], options: SweepOptions | None = None) -> Sweep:
    sweep = Sweep(measure, options or SweepOptions())
    sweep.run()
    return sweep


@settings(deadline=None, max_examples=40)
@given(st.floats(20, 5000))
def test_the_rate_that_is_verified_is_just_below_what_the_service_holds(limit: float) -> None:
    sweep = swept(limited(limit))
    assert sweep.verified_fps is not None
    # 1.6 % beyond its limit the made-up service still meets the SLO.
    assert limit / 1.06 <= sweep.verified_fps <= limit * 1.03
    assert len(sweep.rows) <= 40


def test_the_found_rate_is_repeated_with_other_seeds() -> None:
    sweep = swept(limited(60))
    verified = [row for row in sweep.rows if row.kind == "verify"]
    assert {row.asked_fps for row in verified} == {sweep.verified_fps}
    assert len({row.seed for row in sweep.rows}) == len(sweep.rows)
    assert len(verified) == 5


def test_a_rate_that_fails_a_repetition_is_lowered_and_repeated_again() -> None:
    def moody(ask: Ask) -> Row:
        found = limited(60)(ask)
        return replace(found, in_time=0.5) if ask.kind == "verify" and ask.fps > 57 else found

    sweep = swept(moody)
    assert sweep.verified_fps is not None
    assert sweep.verified_fps <= 57
    lower = [row for row in sweep.rows if row.kind == "verify" and row.asked_fps == sweep.verified_fps]
    assert len(lower) == 5


def test_a_service_that_never_holds_twice_has_no_verified_rate() -> None:
    def fickle(ask: Ask) -> Row:
        found = limited(60)(ask)
        return replace(found, in_time=0.5) if ask.kind == "verify" else found

    assert swept(fickle).verified_fps is None


def test_a_service_that_holds_nothing_says_so() -> None:
    with pytest.raises(TargetError, match=r"even at 0.5 frames/s only 0% .* larger --slo-ms"):
        swept(lambda ask: replace(limited(60)(ask), in_time=0.0))


def test_growth_ends_at_the_highest_rate_asked_for() -> None:
    sweep = swept(limited(1000), SweepOptions(most_fps=100))
    assert max(row.asked_fps for row in sweep.rows) == 100
    assert sweep.verified_fps == 100


def test_a_step_that_may_have_missed_by_the_generators_fault_is_made_again() -> None:
    seen: list[Ask] = []

    def hiccup(ask: Ask) -> Row:
        seen.append(ask)
        found = limited(60)(ask)
        return (
            replace(found, in_time=0.9, in_time_sent=0.99, doubts=("the generator sent late",))
            if len(seen) == 2
            else found
        )

    sweep = swept(hiccup)
    assert [ask.fps for ask in seen[:3]] == [4.0, 12.0, 12.0]
    assert sweep.verified_fps == pytest.approx(60, rel=0.05)


def test_a_step_that_missed_even_without_the_generators_lateness_is_not_made_again() -> None:
    def late(ask: Ask) -> Row:
        found = limited(60)(ask)
        return replace(found, in_time_sent=found.in_time, doubts=("the generator sent late",))

    assert len(swept(late).rows) == len(swept(limited(60)).rows)


def test_a_step_that_met_the_slo_in_spite_of_a_late_generator_held() -> None:
    late = swept(lambda ask: replace(limited(60)(ask), doubts=("the generator sent late",)))
    assert late.verified_fps == swept(limited(60)).verified_fps


def test_a_rate_the_generator_cannot_make_ends_the_growth_after_some_tries() -> None:
    def weak(ask: Ask) -> Row:
        found = limited(1000)(ask)
        busy = replace(found, in_time=0.5, generator_cpu=0.99, doubts=("the generator used all of its core",))
        return busy if ask.fps > 200 else found

    sweep = swept(weak)
    assert sweep.verified_fps is not None
    assert 190 <= sweep.verified_fps <= 200
    assert len([row for row in sweep.rows if row.asked_fps == 324]) == 3


def test_a_single_miss_may_have_been_something_else() -> None:
    seen: list[Ask] = []

    def disturbed(ask: Ask) -> Row:
        seen.append(ask)
        return replace(limited(60)(ask), in_time=0.2) if len(seen) in (1, 3) else limited(60)(ask)

    assert swept(disturbed).verified_fps == pytest.approx(60, rel=0.05)


def test_the_curve_below_is_filled_and_overload_comes_last() -> None:
    sweep = swept(limited(60))
    held = sweep.verified_fps or 0
    parts = [row.asked_fps / held for row in sweep.rows if row.kind == "sweep"]
    for part in (0.3, 0.5, 0.7, 0.85):
        assert min(abs(one / part - 1) for one in parts) <= 0.05
    assert sweep.rows[-1].kind == "overload"


def test_overload_is_one_run_of_two_phases() -> None:
    asks: list[Ask] = []

    def note(ask: Ask) -> Row:
        asks.append(ask)
        return limited(60)(ask)

    sweep = swept(note)
    assert (asks[-1].fps, asks[-1].phases) == (sweep.verified_fps, (Phase(1.5, 12.0), Phase(0.5, 12.0)))
    assert all(not ask.phases for ask in asks[:-1])
