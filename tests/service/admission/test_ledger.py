"""Who gets memory and a lane, and who waits: capacity 100, 40 to spare, 4 lanes."""

import pytest

from service.admission.ledger import HALF_LIFE_S, MANY_CLIENTS, Ask, Ledger


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(clock: Clock) -> Ledger:
    return Ledger(100, 40, 4, clock)


def test_a_client_has_half_of_the_lanes_and_leaves_the_others_to_others(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.take(Ask("many", 1))
    assert ledger.next([Ask("many", 1)]) is None
    other = Ask("other", 1)
    assert ledger.next([Ask("many", 1), other]) is other


def test_everybody_together_has_no_more_than_all_lanes(ledger: Ledger) -> None:
    for name in "abcd":
        ledger.take(Ask(name, 1))
    assert ledger.next([Ask("e", 1)]) is None
    ledger.leave_lane("a", 0.0)
    assert ledger.next([Ask("e", 1)]) is not None


def test_who_holds_little_has_what_there_is_to_spare(ledger: Ledger) -> None:
    ledger.take(Ask("large", 100))
    assert ledger.next([Ask("large", 1)]) is None
    assert ledger.next([Ask("other", 31)]) is None
    small = Ask("other", 30)
    assert ledger.next([small]) is small
    ledger.take(small)
    assert ledger.next([Ask("other", 1)]) is None
    assert ledger.next([Ask("third", 11)]) is None
    assert ledger.next([Ask("third", 10)]) is not None


def test_who_needs_everything_does_not_wait_for_those_who_hold_little(ledger: Ledger) -> None:
    for number in range(4):
        ledger.take(Ask(f"camera {number}", 10))
        ledger.leave_lane(f"camera {number}", 0.0)
    everything = Ask("gzip", 100)
    assert ledger.next([everything, Ask("camera 0", 1)]) is everything
    ledger.take(everything)
    assert ledger.held <= 140


def test_those_who_hold_little_let_one_through_who_needs_everything(ledger: Ledger) -> None:
    for number in range(5):
        ledger.take(Ask(f"camera {number}", 10))
        ledger.leave_lane(f"camera {number}", 0.0)
    everything = Ask("gzip", 100)
    assert ledger.next([everything, Ask("camera 5", 10)]) is None
    ledger.give_back("camera 0", 10)
    assert ledger.next([everything]) is everything


def test_what_is_given_back_is_there_for_the_next(ledger: Ledger) -> None:
    ledger.take(Ask("a", 100))
    waits = Ask("b", 100)
    assert ledger.next([waits]) is None
    ledger.leave_lane("a", 1.0)
    ledger.give_back("a", 100)
    assert ledger.next([waits]) is waits


def test_who_computed_least_is_next_and_then_who_came_first(ledger: Ledger) -> None:
    ledger.take(Ask("busy", 1))
    ledger.leave_lane("busy", 5.0)
    first, second, third = Ask("busy", 1), Ask("idle", 1), Ask("idle", 1)
    assert ledger.next([first, second, third]) is second
    assert ledger.next([first]) is first


def test_what_was_computed_is_forgotten_by_and_by(ledger: Ledger, clock: Clock) -> None:
    ledger.take(Ask("a", 1))
    ledger.leave_lane("a", 8.0)
    clock.now = 2 * HALF_LIFE_S
    assert ledger.used_s("a") == pytest.approx(2.0)


def test_a_large_request_is_not_passed_by_those_who_used_more(ledger: Ledger) -> None:
    ledger.take(Ask("busy", 60))
    ledger.leave_lane("busy", 5.0)
    assert ledger.next([Ask("busy", 30), Ask("new", 90)]) is None
    before = Ask("busy", 30)
    assert ledger.next([before]) is before


def test_clients_that_are_gone_leave_nothing_behind(ledger: Ledger, clock: Clock) -> None:
    for number in range(3 * MANY_CLIENTS):
        clock.now += 2 * HALF_LIFE_S
        ledger.take(Ask(str(number), 1))
        ledger.leave_lane(str(number), 0.001)
        ledger.give_back(str(number), 1)
    assert len(ledger._accounts) <= MANY_CLIENTS + 1


def test_many_small_ones_of_a_client_need_lanes_as_a_large_one_does(clock: Clock) -> None:
    ledger = Ledger(1000, 40, 4, clock, small=10)
    assert [ledger.take(Ask("many", 8)) for _ in range(4)] == [False, False, True, True]
    assert ledger.next([Ask("many", 8)]) is None
    assert not ledger.take(Ask("camera", 8))


def test_where_nothing_is_computed_who_holds_least_is_next(clock: Clock) -> None:
    ledger = Ledger(100, 40, 4, clock, small=101)
    ledger.take(Ask("many", 60))
    first, second = Ask("many", 50), Ask("other", 50)
    assert ledger.next([first, second]) is None
    ledger.take(Ask("third", 5))
    ledger.give_back("many", 20)
    assert ledger.next([first, second]) is second
