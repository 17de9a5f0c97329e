"""Large buffers that are used again: fresh memory comes from the kernel page by page, which is dear.

A heap would keep them too, but it only grows. Here what is kept is bounded, and goes back when nobody needed it for a
while. A buffer that somebody still has a view of is never used again, so that no request can read another one's bytes.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

KEPT_BYTES = 32 * 2**20
IDLE_S = 10.0
# A buffer serves what is up to so many times smaller, and is made an eighth larger than asked for at most.
MOST_WASTED = 4
STEPS = 8


@dataclass(slots=True)
class _Kept:
    """A buffer that waits for its next use, since the clock's second `since`."""

    memory: bytearray
    since: float


class Buffers:
    """Lends buffers, and keeps some for the next who asks.

    Args:
        kept_bytes: that lie about unused at most.
        idle_s: s until one that nobody needed goes back to the system.
        clock: seconds, monotonic.
    """

    def __init__(
        self, kept_bytes: int = KEPT_BYTES, idle_s: float = IDLE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kept_bytes, self._idle_s, self._clock = kept_bytes, idle_s, clock
        self._lock = threading.Lock()
        self._kept: list[_Kept] = []  # the one used last at the end

    @property
    def held(self) -> int:
        """Bytes that lie about unused."""
        with self._lock:
            return sum(len(kept.memory) for kept in self._kept)

    @contextmanager
    def borrow(self, size: int) -> Iterator[memoryview]:
        """Lends so many bytes, whatever they hold, until the block ends."""
        memory = self._take(size)
        view = memoryview(memory)
        lent = view[:size]
        try:
            yield lent
        finally:
            for mine in (lent, view):
                with suppress(BufferError):  # as below
                    mine.release()
            self._take_back(memory)

    def trim(self) -> None:
        """Lets go what nobody needed for a while."""
        with self._lock:
            self._drop_idle()

    def _take(self, size: int) -> bytearray:
        with self._lock:
            fitting = [kept for kept in self._kept if size <= len(kept.memory) <= MOST_WASTED * size]
            if fitting:
                best = min(reversed(fitting), key=lambda kept: len(kept.memory))
                self._kept.remove(best)
                return best.memory
        return bytearray(_rounded(size))

    def _take_back(self, memory: bytearray) -> None:
        try:
            memory.append(memory.pop())  # a bytearray cannot change its length while there is a view of it
        except BufferError:
            return
        with self._lock:
            self._kept.append(_Kept(memory, self._clock()))
            self._drop_idle()

    def _drop_idle(self) -> None:
        left, since = self._kept_bytes, self._clock() - self._idle_s
        kept = list[_Kept]()
        for buffer in reversed(self._kept):
            left -= len(buffer.memory)
            if left >= 0 and buffer.since >= since:
                kept.insert(0, buffer)
        self._kept = kept


def _rounded(size: int) -> int:
    step = max(1, (1 << size.bit_length()) // (2 * STEPS))
    return max(1, -(-size // step) * step)
