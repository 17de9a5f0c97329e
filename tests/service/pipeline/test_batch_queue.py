"""Places and turns of several clients in one queue."""

import threading
from concurrent.futures import Future

import numpy as np
import pytest

from service.errors import Overloaded
from service.pipeline.batch_queue import Batch, BatchQueue, Item
from tests.instance import wait_until

FAR = 60.0


def test_who_holds_little_finds_a_place_when_another_client_has_all() -> None:
    queue = BatchQueue(8, 0.0, lambda: 0.0)
    with queue.admit(8, "many"):
        with pytest.raises(Overloaded), queue.admit(1, "many"):
            pass
        with queue.admit(2, "few"), pytest.raises(Overloaded), queue.admit(1, "few"):
            pass
    with queue.admit(8, "few"):
        pass


def test_single_frames_of_clients_take_turns() -> None:
    queue = BatchQueue(8, 0.0, lambda: 0.0)
    queue.allocate(1, (4, 4))
    for client in ("many", "many", "many", "few", "few"):
        queue.mark_ready(queue.reserve(1.0, lambda: False, client=client))
    taken = [queue.take() for _ in range(5)]
    assert [batch.items[0].client for batch in taken if batch] == ["many", "few", "many", "few", "many"]


@pytest.mark.parametrize("max_batch", [1, 3])
def test_frames_that_were_given_up_take_nobodys_slot(max_batch: int) -> None:
    queue = BatchQueue(8, 0.0, lambda: 0.0)
    queue.allocate(max_batch, (4, 4))
    for _ in range(100):
        hasty = queue.reserve(1.0, lambda: False, client="hasty")
        queue.mark_ready(hasty)
        assert queue.abandon(hasty)
    camera = queue.reserve(1.0, lambda: False, client="camera")
    queue.mark_ready(camera)
    while (batch := queue.take()) and camera not in batch.items:
        pass
    assert batch and all(np.shares_memory(item.slot, batch.frames) for item in batch.items)


def test_a_slot_that_was_taken_over_is_not_written_until_its_new_owner_has() -> None:
    queue = BatchQueue(1, 0.0, lambda: 0.0)
    queue.allocate(2, (4, 4), in_flight=0)
    for _ in range(2):
        hasty = reserve(queue)
        queue.mark_ready(hasty)
        assert queue.abandon(hasty)
    assert queue.full
    camera = reserve(queue)
    assert not queue.full
    queue.mark_ready(camera)
    assert queue.full


def reserve(queue: BatchQueue) -> Item:
    return queue.reserve(1.0, lambda: False)


def taking(queue: BatchQueue) -> "Future[Batch | None]":
    """Another thread that takes a batch, and sleeps by now."""
    taken: Future[Batch | None] = Future()
    threading.Thread(target=lambda: taken.set_result(queue.take()), daemon=True).start()
    wait_until("it sleeps", lambda: bool(queue._news._waiters))  # type: ignore[attr-defined]
    return taken


def test_the_first_written_slot_wakes_who_takes() -> None:
    queue = BatchQueue(8, 0.0, lambda: 0.0)
    queue.allocate(2, (4, 4))
    taken = taking(queue)
    item = reserve(queue)
    assert not taken.done()
    queue.mark_ready(item)
    assert taken.result(FAR) is item.batch


def test_a_batch_is_had_when_its_last_slot_is_written_and_nothing_else_wakes_who_takes_it() -> None:
    queue = BatchQueue(8, 0.0, lambda: 0.0)
    queue.allocate(2, (4, 4))
    first, second, later = reserve(queue), reserve(queue), reserve(queue)
    taken = taking(queue)
    queue.mark_ready(first)
    wait_until("it is taken", lambda: queue.depth == 1)
    wait_until("it sleeps again", lambda: bool(queue._news._waiters))  # type: ignore[attr-defined]
    (asleep,) = queue._news._waiters  # type: ignore[attr-defined]
    queue.mark_ready(later)
    assert list(queue._news._waiters) == [asleep]  # type: ignore[attr-defined]
    queue.mark_ready(second)
    assert taken.result(FAR) is first.batch
    assert queue.take() is later.batch


def test_a_full_batch_waits_for_no_more_frames() -> None:
    queue = BatchQueue(8, FAR, lambda: 0.0)
    queue.allocate(2, (4, 4))
    taken = taking(queue)
    first, second = reserve(queue), reserve(queue)
    queue.mark_ready(first)
    queue.mark_ready(second)
    assert taken.result(FAR) is first.batch


def test_stopping_wakes_who_takes() -> None:
    queue = BatchQueue(8, 0.0, lambda: 0.0)
    queue.allocate(2, (4, 4))
    taken = taking(queue)
    queue.stop()
    assert taken.result(FAR) is None


def test_who_waits_is_woken_once_it_is_done_and_not_before() -> None:
    queue = BatchQueue(8, 0.0, lambda: 0.0)
    queue.allocate(1, (4, 4))
    item = reserve(queue)
    assert not item.wait(-1.0)
    waiter = threading.Timer(0.0, item.finish)
    waiter.start()
    assert item.wait(FAR)
    assert not queue.abandon(item), "it is answered"
