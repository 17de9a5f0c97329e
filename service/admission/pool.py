"""Memory that requests share: each waits for its part, as long as somebody waits for its answer."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from service.admission.client_gone import never_gone
from service.admission.ledger import Ask, Ledger
from service.errors import DeadlineExceeded, ImageTooLarge

LOOK_S = 0.1


@dataclass(slots=True)
class _Turn:
    """Somebody who waits: `come` is set once it is their turn, which is with a `lane` or without."""

    come: threading.Event = field(default_factory=threading.Event)
    lane: bool = False


class Pool:
    """Hands out what a ledger says may be had.

    Args:
        ledger: its books.
        clock: seconds, monotonic.
        for_work: True if what is handed out is worked with at once, so that the client has to be there even then; the
            question is a system call, for which a thread gives up the GIL.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.monotonic, *, for_work: bool = True) -> None:
        self.ledger = ledger
        self.clock = clock
        self._for_work = for_work
        self._lock = threading.Lock()
        self._waiting: dict[Ask, _Turn] = {}

    def take(self, ask: Ask, deadline: float, gone: Callable[[], bool]) -> bool:
        """Waits until the bytes are there, and a lane if it needs one; returns whether it does.

        Raises:
            ImageTooLarge: that many will never be.
            DeadlineExceeded: the clock's second passed first, or the client has gone.
        """
        if ask.size > self.ledger.capacity:
            raise ImageTooLarge(
                f"image: decoding it takes {ask.size} bytes of memory, at most {self.ledger.capacity} are there; "
                "send it smaller, or not progressive"
            )
        if self.clock() >= deadline or (self._for_work and gone()):
            raise _too_late()
        with self._lock:
            if not self._waiting and self.ledger.has_lane(ask) and self.ledger.has_room(ask):
                return self.ledger.take(ask)
            turn = self._waiting[ask] = _Turn()
            self._hand_out()
        while not turn.come.wait(LOOK_S):
            if self.clock() >= deadline or gone():
                with self._lock:
                    if self._waiting.pop(ask, None):
                        self._hand_out()  # it may have stood before others
                        raise _too_late()
        return turn.lane

    def give_back(self, client: str, size: int, lane_s: float | None) -> None:
        """Takes bytes back, and a lane that was used for so many seconds; None if there was none."""
        with self._lock:
            if lane_s is not None:
                self.ledger.leave_lane(client, lane_s)
            self.ledger.give_back(client, size)
            self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and (ask := self.ledger.next(tuple(self._waiting))):
            turn = self._waiting.pop(ask)
            turn.lane = self.ledger.take(ask)
            turn.come.set()


class Part:
    """One request's part of a pool: nothing until it is claimed, given back when the block ends.

    Args:
        pool: whose.
        client: who asks.
        deadline: the clock's second after which nobody wants the answer.
        gone: whether the client has hung up.
    """

    def __init__(
        self, pool: Pool, client: str, deadline: float = float("inf"), gone: Callable[[], bool] = never_gone
    ) -> None:
        self.client, self.deadline, self.gone = client, deadline, gone
        self._pool = pool
        self._size = 0
        self._began: float | None = None

    def claim(self, size: int) -> None:
        """Waits for so many bytes and a lane to use them in, instead of what was held before.

        Raises:
            ImageTooLarge: that many will never be there.
            DeadlineExceeded: too late, or the client has gone.
        """
        self.release()
        lane = self._pool.take(Ask(self.client, size), self.deadline, self.gone)
        self._size, self._began = size, self._pool.clock() if lane else None

    def look(self) -> None:
        """Goes on only if somebody waits for the answer.

        Raises:
            DeadlineExceeded: too late, or the client has gone.
        """
        if self._pool.clock() >= self.deadline or self.gone():
            raise _too_late()

    def keep(self, size: int) -> None:
        """Gives the lane back, and the bytes but for so many."""
        lane_s = None if self._began is None else self._pool.clock() - self._began
        if self._size > size or lane_s is not None:
            self._pool.give_back(self.client, max(0, self._size - size), lane_s)
            self._size, self._began = min(self._size, size), None

    def release(self) -> None:
        """Gives everything back."""
        self.keep(0)

    def __enter__(self) -> "Part":
        """Begins with nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives everything back."""
        self.release()


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("dropped unanswered: too late, or the client has gone")
