"""What the heap of an instance is spared."""

import gc

from service.safeguards.memory import settle_heap


def test_what_was_loaded_is_not_looked_through_again():
    gc.unfreeze()
    settle_heap()
    try:
        assert gc.get_freeze_count() > 1000
        assert not any(kept is gc for kept in gc.get_objects())
    finally:
        gc.unfreeze()
