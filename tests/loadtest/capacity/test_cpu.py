"""CPU time is read from every instance behind a balancer."""

from itertools import cycle

import pytest

from loadtest.capacity import measure
from loadtest.errors import TargetError
from loadtest.target.target import Reply


def metrics(name: str, seconds: float) -> Reply:
    body = f"# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total {seconds}\nother 1\n"
    return Reply(200, body.encode(), name)


def test_a_balancer_is_asked_until_every_instance_has_answered() -> None:
    answers = cycle([metrics(f"gpu{n}", n + 0.5) for n in range(5)])
    assert measure.read_cpu_s(lambda route: next(answers)) == {f"gpu{n}": n + 0.5 for n in range(5)}


def test_large_figures_come_with_an_exponent() -> None:
    assert measure.read_cpu_s(lambda route: Reply(200, b"process_cpu_seconds_total 1.5e+06\n", "a")) == {"a": 1.5e6}


@pytest.mark.parametrize("reply", [Reply(404, b"", "a"), Reply(200, b"nothing", "a")], ids=["no route", "no figure"])
def test_a_service_that_does_not_tell_is_no_error(reply: Reply) -> None:
    assert measure.read_cpu_s(lambda route: reply) == {}


def test_a_service_that_is_gone_is_no_error_here() -> None:
    def gone(route: str) -> Reply:
        raise TargetError("nobody there")

    assert measure.read_cpu_s(gone) == {}


@pytest.mark.parametrize(
    ("after", "used"),
    [({"a": 3.0, "b": 5.0}, 5.0), ({"a": 3.0}, None), ({"a": 0.1, "b": 5.0}, None)],
    ids=["both", "one went", "one started again"],
)
def test_time_used_is_only_known_while_the_fleet_stays_the_same(after: dict[str, float], used: float | None) -> None:
    assert measure.cpu_used_s({"a": 1.0, "b": 2.0}, after) == used


def test_nothing_known_before_is_nothing_known() -> None:
    assert measure.cpu_used_s({}, {}) is None
