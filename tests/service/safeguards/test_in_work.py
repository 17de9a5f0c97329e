"""What a worker is at stands in its table, once each; a suspect has the worker to itself, and nobody waits for ever."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from service.errors import Overloaded
from service.safeguards.in_work import DECODER, DIGEST_BYTES, ENGINE, NO_MARK, ROWS, Doubt, InWork, Mark, shared_table
from tests.instance import wait_until

LIMIT_S = 60.0
A, B, C = (Mark(letter * DIGEST_BYTES) for letter in (b"a", b"b", b"c"))
SUSPECT = Mark(b"s" * DIGEST_BYTES, Doubt.OWN)


def test_the_master_sees_what_is_in_work_and_no_longer_what_is_done() -> None:
    table = shared_table()
    worker, master = InWork(table), InWork(table)
    worker.begin(DECODER, [A])
    worker.begin(ENGINE, [B, C])
    assert master.left() == {A.digest, B.digest, C.digest}
    assert master.left(engine_alone=True) == {B.digest, C.digest}
    worker.end(ENGINE, [B])
    worker.end(DECODER, [A])
    assert master.left() == {C.digest}
    os.close(table)


def test_a_picture_that_is_in_work_twice_stands_there_until_both_are_done() -> None:
    worker = InWork()
    worker.begin(ENGINE, [A, A])
    worker.end(ENGINE, [A])
    assert worker.left() == {A.digest}
    worker.end(ENGINE, [A])
    assert worker.left() == set()


def test_a_full_table_notes_no_more_and_forgets_nothing() -> None:
    worker = InWork()
    marks = [Mark(number.to_bytes(DIGEST_BYTES, "big")) for number in range(1, ROWS + 2)]
    worker.begin(ENGINE, marks)
    assert len(worker.left()) == ROWS
    worker.end(ENGINE, marks)
    worker.begin(ENGINE, [NO_MARK, A])
    assert worker.left() == {A.digest}


def test_a_suspect_waits_until_it_is_alone_and_then_the_others_wait_for_it() -> None:
    worker = InWork(alone_s=LIMIT_S)
    worker.begin(ENGINE, [A])
    with ThreadPoolExecutor(2) as pool:
        suspect = pool.submit(worker.begin, ENGINE, [SUSPECT])
        wait_until("the suspect waits", lambda: worker.closed)
        late = pool.submit(worker.begin, DECODER, [B])
        assert worker.left() == {A.digest}
        worker.end(ENGINE, [A])
        assert suspect.result(LIMIT_S)
        assert worker.left() == {SUSPECT.digest}
        worker.end(ENGINE, [SUSPECT])
        assert late.result(LIMIT_S)
    assert worker.left() == {B.digest}


def test_a_suspect_that_cannot_be_alone_is_refused_and_keeps_nobody_out() -> None:
    worker = InWork(alone_s=0.01)
    worker.begin(ENGINE, [A])
    with pytest.raises(Overloaded), worker.decoding(SUSPECT):
        pytest.fail("it was let in")
    assert not worker.closed
    assert worker.left() == {A.digest}


def test_others_go_on_beside_a_suspect_that_hangs_and_at_once_where_they_may_not_wait() -> None:
    worker = InWork(alone_s=0.01)
    worker.begin(ENGINE, [SUSPECT])
    assert worker.begin(DECODER, [A])
    assert worker.begin(ENGINE, [B], patient=False)
    assert worker.left() == {SUSPECT.digest, A.digest, B.digest}


def test_others_are_kept_waiting_for_suspects_a_small_part_of_the_time_alone() -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1
        return now

    worker = InWork(alone_s=0.01, clock=clock)
    assert worker.begin(DECODER, [SUSPECT])
    assert worker.begin(DECODER, [A]), "it was kept waiting, and went on"
    assert not worker.closed, "once is enough: what came later need not wait"
    worker.end(DECODER, [SUSPECT])
    assert not worker.begin(DECODER, [SUSPECT])
    assert worker.begin(DECODER, [replace(SUSPECT, doubt=Doubt.SHARED)]) and not worker.closed
    worker.end(DECODER, [SUSPECT])
    worker.end(DECODER, [A])
    assert worker.begin(DECODER, [SUSPECT]) and not worker.closed, "it is alone by chance"
    worker.end(DECODER, [SUSPECT])
    now += 1000
    assert worker.begin(DECODER, [SUSPECT]) and worker.closed


def test_a_suspect_that_nobody_waits_for_may_be_alone_for_as_long_and_as_often_as_it_takes() -> None:
    now = 0.0
    worker = InWork(clock=lambda: now)
    for _ in range(3):
        assert worker.begin(DECODER, [SUSPECT]) and worker.closed
        now += 60
        worker.end(DECODER, [SUSPECT])


def test_what_failed_to_decode_is_done() -> None:
    worker = InWork()
    with pytest.raises(ZeroDivisionError), worker.decoding(SUSPECT):
        raise ZeroDivisionError
    assert worker.left() == set() and not worker.closed
