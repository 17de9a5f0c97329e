"""Places and turns of several clients in one queue."""

import pytest

from service.batch_queue import BatchQueue
from service.errors import Overloaded


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
