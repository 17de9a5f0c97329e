"""Bodies come back as they were, whether they are held in memory or on disk."""

import pytest

from loadtest.frames.spool import Spool

BODIES = [b"a" * 5, b"", b"b" * 7, b"c", b"", b"d" * 3]


@pytest.mark.parametrize("held", [0, 5, 6, 12, 100])
def test_bodies_come_back_in_order_wherever_they_are(held: int) -> None:
    spool = Spool(iter(BODIES), held)
    assert len(spool) == len(BODIES)
    assert list(spool) == BODIES
    assert [spool[-1], spool[2]] == [BODIES[-1], BODIES[2]]
    assert list(spool[::2]) == BODIES[::2]
    assert spool == tuple(BODIES)
    assert spool != BODIES[:-1]
    with pytest.raises(IndexError):
        spool[len(BODIES)]
