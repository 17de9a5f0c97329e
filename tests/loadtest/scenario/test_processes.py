"""Whether an instance was killed or replaced is seen by its process."""

from collections.abc import Callable
from itertools import cycle

import pytest

from loadtest.scenario import kinds
from tests.loadtest.fake_service import Scripted, fake_service


def balancer(*documents: dict[str, object]) -> Callable[[], dict[str, object]]:
    """Gives the instances' documents in turn."""
    turn = cycle(documents)
    return lambda: next(turn)


def test_every_instance_behind_a_balancer_is_found() -> None:
    documents = [{"instance": f"cpu{n}", "pid": 100 + n} for n in range(20)]
    assert kinds.read_processes(balancer(*documents)) == {f"cpu{n}": 100 + n for n in range(20)}


@pytest.mark.parametrize("document", [{}, {"instance": "cpu0"}, {"pid": 3}, {"instance": 1, "pid": "x"}])
def test_a_service_that_does_not_tell_has_none(document: dict[str, object]) -> None:
    assert kinds.read_processes(balancer(document)) == {}


def test_an_answer_without_a_document_hides_no_instance() -> None:
    assert kinds.read_processes(balancer({}, {"instance": "cpu0", "pid": 7}, {})) == {"cpu0": 7}


def test_it_asks_for_the_status() -> None:
    with fake_service(lambda number: Scripted()) as service:
        service.document = b'{"instance": "cpu0", "pid": 12}'
        assert kinds.running(service.url) == {"cpu0": 12}


def test_what_is_gone_has_ended_and_what_came_back_was_replaced() -> None:
    before, after = {"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 20, "new": 4}
    assert kinds.ended(before, after) == ("b", "c")
    assert kinds.replaced(before, after) == ("b",)
