"""The dispatcher's sleep is never short, and others go on meanwhile."""

import time

import gevent
import pytest

from loadtest.generate.dispatch import FineTimer


@pytest.mark.parametrize("seconds", [1e-10, 0.0001, 0.02])
def test_a_sleep_is_as_long_as_it_was_asked_to_be(seconds: float) -> None:
    with FineTimer() as timer:
        began = time.perf_counter()
        timer.sleep(seconds)
        assert time.perf_counter() - began >= seconds


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.01])
def test_others_get_their_turn(seconds: float) -> None:
    turns: list[int] = []
    with FineTimer() as timer:
        gevent.spawn(turns.append, 1)
        timer.sleep(seconds)
    assert turns == [1]


def test_without_a_timer_of_its_own_it_sleeps_as_gevent_does() -> None:
    timer, began = FineTimer(), time.perf_counter()
    timer.sleep(0.01)
    assert time.perf_counter() - began >= 0.009


def test_the_timer_is_given_back() -> None:
    with FineTimer() as timer:
        timer.sleep(0.001)
        taken = timer.descriptor
    assert taken >= 0
    assert timer.descriptor == -1
