"""Large buffers that are used again: fresh memory comes from the kernel page by page, which is dear.

A heap would keep them too, but it only grows. Here what is kept is bounded, and goes back when nobody needed it for a
while. A buffer of which anybody still has a view is in use, so that no request can read or write another one's bytes.
"""

import mmap
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

KEPT_BYTES = 64 * 2**20
IDLE_S = 10.0
# What is smaller stays on the heap, where it is quickly had.
LEAST_BYTES = 2**17
# A buffer serves what is up to so many times smaller, and is made an eighth larger than asked for at most.
MOST_WASTED = 4
STEPS = 8


@dataclass(slots=True)
class _Kept:
    """A buffer, last asked for in the clock's second `since`."""

    memory: mmap.mmap
    since: float

    def in_use(self) -> bool:
        """Whether there is a view of it, or of a part of it, or an array in it."""
        try:
            self.memory.resize(len(self.memory))  # which memory never does while there is
        except BufferError:
            return True
        return False


class Buffers:
    """Lends buffers, and keeps some for the next who asks.

    Args:
        kept_bytes: of all that it keeps, lent or not; more is lent, and goes back to the system after its use.
        idle_s: s until one that nobody needed goes back to the system.
        clock: seconds, monotonic.
        sleep: waits for s.
    """

    def __init__(
        self,
        kept_bytes: int = KEPT_BYTES,
        idle_s: float = IDLE_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._kept_bytes, self._idle_s, self._clock, self._sleep = kept_bytes, idle_s, clock, sleep
        self._lock = threading.Lock()
        self._kept: list[_Kept] = []  # the one asked for last at the end
        self._watched = False

    @property
    def held(self) -> int:
        """Bytes that it keeps, lent or not."""
        with self._lock:
            return self._size()

    def lend(self, size: int) -> memoryview:
        """So many bytes, whatever they hold: the borrower's as long as there is a view of them."""
        if size < LEAST_BYTES:
            return memoryview(bytearray(size))
        with self._lock:
            kept = self._fitting(size) or _Kept(_memory(_rounded(size)), 0.0)
            kept.since = self._clock()
            self._keep(kept)
            return memoryview(kept.memory)[:size]

    def trim(self) -> None:
        """Lets go what nobody needed for a while."""
        with self._lock:
            since = self._clock() - self._idle_s
            self._kept = [kept for kept in self._kept if kept.since > since or kept.in_use()]

    def _fitting(self, size: int) -> _Kept | None:
        """The smallest that serves, the one used last of several, taken out."""
        fitting = [kept for kept in reversed(self._kept) if size <= len(kept.memory) <= MOST_WASTED * size]
        fitting.sort(key=lambda kept: len(kept.memory))
        best = next((kept for kept in fitting if not kept.in_use()), None)
        if best:
            self._kept.remove(best)
        return best

    def _keep(self, kept: _Kept) -> None:
        """Puts one in, for which the ones that were not needed for longest make room."""
        most = self._kept_bytes - len(kept.memory)
        if most < 0:
            return
        for other in self._kept[:]:
            if self._size() <= most:
                break
            if not other.in_use():
                self._kept.remove(other)
        if self._size() <= most:
            self._kept.append(kept)
            self._watch()

    def _size(self) -> int:
        return sum(len(kept.memory) for kept in self._kept)

    def _watch(self) -> None:
        """Has an idle instance give its memory back: a thread looks, as long as any is kept."""
        if self._watched:
            return
        self._watched = True
        threading.Thread(target=self._look_on, name="buffers", daemon=True).start()

    def _look_on(self) -> None:
        while True:
            self._sleep(self._idle_s)
            self.trim()
            with self._lock:
                if not self._kept:
                    self._watched = False
                    return


def _memory(size: int) -> mmap.mmap:
    # Not a bytearray, which is written all over at once: a client that announces a long body need not send it.
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _rounded(size: int) -> int:
    step = (1 << size.bit_length()) // (2 * STEPS)
    return -(-size // step) * step
