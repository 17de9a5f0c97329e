"""Buffers are lent again, but never while anybody has a view of them; what is kept is bounded, and goes back."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import msgspec
import numpy as np
import pytest

from service.admission.buffers import KEPT_BYTES, LEAST_BYTES, MOST_WASTED, Buffers

MIB = 2**20


def addresses(*views: memoryview) -> set[int]:
    return {np.frombuffer(view, np.uint8).ctypes.data for view in views}


class Waiting:
    """A clock and a sleeper that moves it on once it is let."""

    def __init__(self) -> None:
        self.now, self.come, self.slept = 0.0, threading.Semaphore(0), threading.Semaphore(0)

    def sleep(self, s: float) -> None:
        self.slept.release()
        self.come.acquire()
        self.now += s


@pytest.mark.parametrize("size", [1, 0, LEAST_BYTES - 1, LEAST_BYTES, LEAST_BYTES + 1, 6_220_800, 8_294_444])
def test_a_buffer_has_the_length_that_was_asked_for_and_can_be_written(size: int) -> None:
    view = Buffers().lend(size)
    assert (view.nbytes, view.readonly, view.contiguous) == (size, False, True)
    view[:] = b"x" * size
    assert view == b"x" * size


def test_a_buffer_is_lent_again_once_there_is_no_view_of_it() -> None:
    buffers = Buffers()
    first = addresses(buffers.lend(MIB))
    assert addresses(buffers.lend(MIB)) == first
    assert addresses(buffers.lend(MIB - 5)) == first
    assert addresses(buffers.lend(MIB // MOST_WASTED)) == first


def test_neither_a_larger_one_nor_one_far_too_large_is_taken() -> None:
    buffers = Buffers()
    first = addresses(buffers.lend(MIB))
    larger = buffers.lend(2 * MIB)
    assert addresses(larger) != first
    assert addresses(buffers.lend(MIB // MOST_WASTED - 1)) != first


class Raw(msgspec.Struct):
    image: msgspec.Raw


HOLDS: dict[str, Callable[[memoryview], object]] = {
    "the view": lambda view: view,
    "a slice": lambda view: view[7:9],
    "a slice of a slice": lambda view: view[7:900][3:],
    "another view": memoryview,
    "a view of another type": lambda view: view.cast("I"),
    "one to read": lambda view: view.toreadonly(),
    "an array": lambda view: np.frombuffer(view, np.uint8),
    "a part of an array": lambda view: np.frombuffer(view, np.uint8).reshape(-1, 4, 4)[5:, ::2],
    "an array of an array": lambda view: np.asarray(np.frombuffer(view, np.uint8)[3:]),
    "a view of an array": lambda view: np.frombuffer(view, np.uint8).data,
    "pixels from OpenCV": lambda view: cv2.flip(pixels := np.frombuffer(view, np.uint8).reshape(-1, 4), 0, dst=pixels),
    "raw JSON": lambda view: written(view, b'{"image": "abcd"}'),
}


def written(view: memoryview, text: bytes) -> Raw:
    view[: len(text)] = text
    return msgspec.json.decode(view[: len(text)], type=Raw)


@pytest.mark.parametrize("hold", HOLDS.values(), ids=HOLDS)
def test_a_buffer_is_not_lent_while_anybody_holds(hold: Callable[[memoryview], object]) -> None:
    buffers = Buffers()
    held = [hold(buffers.lend(MIB))]
    others = [buffers.lend(MIB) for _ in range(3)]
    assert len(addresses(*others)) == 3
    places = addresses(*others)
    del others
    again = [buffers.lend(MIB) for _ in range(3)]
    assert addresses(*again) == places
    held.clear()
    assert len(addresses(*again, buffers.lend(MIB)) - places) == 1
    assert buffers.held == 4 * MIB


def test_an_error_that_still_knows_a_view_keeps_it() -> None:
    buffers = Buffers()

    def fails(view: memoryview) -> None:
        raise ValueError(len(view))

    with pytest.raises(ValueError, match=str(MIB)) as caught:
        fails(buffers.lend(MIB))
    second = buffers.lend(MIB)
    assert buffers.held == 2 * MIB
    del second, caught
    both = [buffers.lend(MIB), buffers.lend(MIB)]
    assert (len(both), buffers.held) == (2, 2 * MIB)


def test_no_more_is_kept_than_may_be_and_the_rest_goes_back_after_its_use() -> None:
    buffers = Buffers(kept_bytes=4 * MIB)
    views = [buffers.lend(MIB) for _ in range(9)]
    assert (len(addresses(*views)), buffers.held) == (9, 4 * MIB)
    views.clear()
    large = buffers.lend(3 * MIB)  # for which those make room that are not in use
    assert buffers.held == 4 * MIB
    assert len({*addresses(large), *addresses(buffers.lend(5 * MIB))}) == 2
    assert buffers.held == 4 * MIB


def test_small_ones_are_not_kept() -> None:
    buffers = Buffers()
    assert buffers.lend(LEAST_BYTES - 1).nbytes == LEAST_BYTES - 1
    assert buffers.held == 0


def test_what_nobody_needed_for_a_while_goes_back() -> None:
    now = [0.0]
    buffers = Buffers(idle_s=10, clock=lambda: now[0], sleep=lambda s: threading.Event().wait())
    buffers.lend(MIB)
    used = buffers.lend(2 * MIB)
    now[0] = 9.0
    buffers.lend(8 * MIB)
    buffers.trim()
    assert buffers.held == 11 * MIB
    now[0] = 10.0
    buffers.trim()
    assert buffers.held == 10 * MIB  # one is in use, another was lately
    now[0] = 20.0
    del used
    buffers.trim()
    assert buffers.held == 0


def test_an_idle_process_gives_everything_back_by_itself() -> None:
    waiting = Waiting()
    buffers = Buffers(idle_s=10, clock=lambda: waiting.now, sleep=waiting.sleep)
    for _ in range(2):  # the thread that looks has ended, and another one looks
        buffers.lend(MIB)
        buffers.lend(2 * MIB)
        waiting.slept.acquire()
        assert buffers.held == 3 * MIB
        looking = next(thread for thread in threading.enumerate() if thread.name == "buffers")
        waiting.come.release()
        looking.join(60)
        assert buffers.held == 0


def test_threads_never_get_the_same_memory() -> None:
    buffers = Buffers()

    def work(mark: int) -> bool:
        sizes = (LEAST_BYTES, 300_000, MIB, 3 * MIB)
        for number in range(300):
            array = np.frombuffer(buffers.lend(sizes[(number + mark) % len(sizes)]), np.uint8)
            array[:] = mark
            part = array[number:]
            del array
            if not (part == mark).all():
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert buffers.held <= KEPT_BYTES
