"""What this worker is at right now, in memory that its gunicorn master reads when the worker has died.

A picture stands here while it is decoded, and while its frame is in a batch that the engine works on; not while it
waits. A suspect is let in when nothing else is here, and the others wait until it is out: a death then is its own. They
wait for a moment, and for a small part of the time: suspects may be large, and come again and again.
"""

import mmap
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from threading import Condition, Lock

from service.errors import Overloaded

DIGEST_BYTES = 16
ROW_BYTES = 1 + DIGEST_BYTES
DECODER, ENGINE = b"d", b"e"
EMPTY = bytes(ROW_BYTES)
# Two per picture in work.
ROWS = 4096
# For the longest decoding that is going on, or a suspect's; who cannot wait any longer goes on without.
ALONE_S = 0.75
AT_ONCE_S = 0.25
# Of the time, in which others are kept waiting; so many seconds of them may be ahead of it.
KEPT_SHARE = 0.1
AHEAD_S = 2.0


class Doubt(Enum):
    """How much a picture is suspected of ending processes: what is has to be alone in work."""

    NONE = "nothing is known of it, or nobody asks"
    FIRST = "one death: nobody waits for long, and where it cannot be alone it runs all the same"
    SHARED = "deaths in company alone: it is waited for, and runs all the same"
    OWN = "it died alone: it runs alone, or not at all"


@dataclass(frozen=True, slots=True)
class Mark:
    """What stands for a picture in work: the `digest` of its bytes, empty where nobody asks, and the `doubt`."""

    digest: bytes = b""
    doubt: Doubt = Doubt.NONE

    @property
    def alone(self) -> bool:
        """Whether nothing else should run with it."""
        return self.doubt is not Doubt.NONE


NO_MARK = Mark()


def shared_table() -> int:
    """Makes the memory that worker and master share over the fork; returns its file descriptor."""
    descriptor = os.memfd_create("in-work")
    os.ftruncate(descriptor, ROWS * ROW_BYTES)
    return descriptor


class InWork:
    """The table of one worker.

    Args:
        table_fd: from `shared_table`; None where no master will ask.
        alone_s: s that a suspect waits for the others, and they for it.
        clock: seconds, monotonic.
    """

    def __init__(
        self, table_fd: int | None = None, alone_s: float = ALONE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._table = mmap.mmap(-1 if table_fd is None else table_fd, ROWS * ROW_BYTES)
        self._alone_s, self._clock = alone_s, clock
        self._free = deque(range(ROWS))
        self._rows: dict[bytes, list[int]] = {}  # where each stands, and how often it is in work
        self._lock = Lock()
        self._changed = Condition(self._lock)
        self._waiting = 0
        self._suspect: list[bytes] | None = None  # for whom others are kept out; its row, once it is in
        self._kept_since: float | None = None  # when the first of them came
        self._owed_until = 0.0  # when their waiting will have been a small part of the time again

    @property
    def closed(self) -> bool:
        """Whether a suspect is here, or waits until the others are out."""
        return self._suspect is not None

    @contextmanager
    def decoding(self, mark: Mark) -> Iterator[None]:
        """Notes a picture while the block lasts.

        Raises:
            Overloaded: it has to be alone, and the others took too long.
        """
        if not self.begin(DECODER, [mark]):
            raise not_alone()
        try:
            yield
        finally:
            self.end(DECODER, [mark])

    def begin(self, stage: bytes, marks: Sequence[Mark], *, patient: bool = True) -> bool:
        """Notes pictures; waits while a suspect is here.

        Args:
            stage: `DECODER` or `ENGINE`.
            marks: at least one; more only of pictures that need not be alone.
            patient: False waits for no suspect.

        Returns:
            False where nothing was noted: a suspect could not be alone.
        """
        with self._lock:
            first = marks[0]
            if first.alone:
                limit_s = AT_ONCE_S if first.doubt is Doubt.FIRST else self._alone_s
                if not self._be_alone(stage + first.digest, limit_s) and first.doubt is Doubt.OWN:
                    return False
            elif patient and self.closed:
                self._wait_for_suspect()
            for mark in marks:
                if mark.digest:
                    self._note(stage + mark.digest)
        return True

    def end(self, stage: bytes, marks: Sequence[Mark]) -> None:
        """Takes out what `begin` noted."""
        with self._lock:
            for mark in marks:
                if mark.digest:
                    self._take_out(stage + mark.digest)
                    if self._suspect and self._suspect == [stage + mark.digest]:
                        self._open()
            if self._waiting:
                self._changed.notify_all()

    def left(self, *, engine_alone: bool = False) -> set[bytes]:
        """The digests of what is noted, for the master of a worker that has died.

        Args:
            engine_alone: leaves out what was decoded: the engine is known to be at fault.
        """
        rows = {self._table[at : at + ROW_BYTES] for at in range(0, len(self._table), ROW_BYTES)} - {EMPTY}
        return {row[1:] for row in rows if not engine_alone or row[:1] == ENGINE}

    def _be_alone(self, row: bytes, limit_s: float) -> bool:
        """Waits until nothing else is here, and keeps others out then, if they have not been for long enough lately."""
        until = self._clock() + limit_s
        self._wait_for(lambda: not self.closed, limit_s)
        if self.closed or self._owed_until > self._clock() + AHEAD_S:
            # By chance, where it alone is kept waiting: the engine's thread has others to see to.
            patience_s = until - self._clock() if row.startswith(DECODER) and limit_s > AT_ONCE_S else 0.0
            return self._wait_for(lambda: not self._rows, max(0.0, patience_s))
        mine = self._suspect = list[bytes]()
        self._wait_for(lambda: not self._rows or self._suspect is not mine, max(0.0, until - self._clock()))
        if self._suspect is not mine:  # they were tired of waiting
            return False
        if self._rows:
            self._open()
            return False
        mine.append(row)
        return True

    def _wait_for(self, holds: Callable[[], bool], limit_s: float) -> bool:
        self._waiting += 1
        try:
            return self._changed.wait_for(holds, limit_s)
        finally:
            self._waiting -= 1

    def _wait_for_suspect(self) -> None:
        now = self._clock()
        self._kept_since = now if self._kept_since is None else self._kept_since
        if not self._wait_for(lambda: not self.closed, max(0.0, self._kept_since + self._alone_s - now)):
            self._open()

    def _open(self) -> None:
        now = self._clock()
        if self._kept_since is not None:
            self._owed_until = max(now, self._owed_until) + (now - self._kept_since) / KEPT_SHARE
        self._suspect = self._kept_since = None
        self._changed.notify_all()

    def _note(self, row: bytes) -> None:
        if (noted := self._rows.get(row)) is not None:
            noted[1] += 1
        elif self._free:
            at = self._free.popleft()
            self._rows[row] = [at, 1]
            self._table[at * ROW_BYTES : (at + 1) * ROW_BYTES] = row

    def _take_out(self, row: bytes) -> None:
        if (noted := self._rows.get(row)) is None:
            return
        noted[1] -= 1
        if not noted[1]:
            at = self._rows.pop(row)[0]
            self._table[at * ROW_BYTES : (at + 1) * ROW_BYTES] = EMPTY
            self._free.append(at)


def not_alone() -> Overloaded:
    """The error of a suspect that the others did not make room for."""
    return Overloaded("a picture that may have ended an instance has to be alone here, and others took long; try again")
