"""Refuses pictures that instances keep dying of, so that one bad picture cannot take a whole fleet down.

While a picture is worked on, its SHA-256 stands in memory that the worker shares with the gunicorn master. When the
worker dies the master blames every picture that stands there: it adds a byte to a file named by the hash, in a folder
that all instances of a host share. A picture with too many of those is refused. So that a neighbour of the culprit, or
a picture that was in a process somebody killed, is not kept out, a picture that is answered is acquitted, and suspects
are worked on one after the other: the balancer sends all that were in one process to the next one together.
"""

import hashlib
import mmap
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from service.errors import DeadlineExceeded, Overloaded, Quarantined, RequestError, ServiceError
from service.settings import Settings

DIGEST_BYTES = 32
EMPTY = bytes(DIGEST_BYTES)
# One per picture in work, and room for those given up at their deadline that an engine may still hang on.
ROWS = 4096
# Until the master of a worker that has just died has noted it: the balancer is quicker with its next try.
SETTLE_S = 0.1
# A suspect's turn; one that hangs is given up, and ended by the watchdog, later than that.
TURN_S = 3.0
# Stage one of the balancer reaches two instances, its last stage a third.
DEATHS = 3


def shared_table() -> int:
    """Makes the memory that worker and master share over the fork; returns its file descriptor."""
    descriptor = os.memfd_create("in-flight")
    os.ftruncate(descriptor, ROWS * DIGEST_BYTES)
    return descriptor


def make_quarantine(settings: Settings, table_fd: int) -> "Quarantine":
    """Makes an instance's quarantine, alike in its worker and its master."""
    folder = Path(settings.quarantine) if settings.quarantine else None
    return Quarantine(folder, expiry_s=settings.quarantine_s, linger_s=settings.watchdog_s, table_fd=table_fd)


class Quarantine:
    """What is in work here, and what is refused on this host.

    Args:
        folder: shared by the instances of a host; None refuses nothing.
        expiry_s: a picture is forgotten so many seconds after the last death.
        linger_s: a picture given up at its deadline counts as in work for so long: the engine may hang on it.
        table_fd: from `shared_table`; None where no master will ask.
        clock: Unix seconds, as files are stamped with.
        sleep: waits for s.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        expiry_s: float = 3600.0,
        linger_s: float = 10.0,
        table_fd: int | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder, self._expiry_s, self._linger_s, self._clock = folder, expiry_s, linger_s, clock
        self._sleep = sleep
        self._table = mmap.mmap(-1 if table_fd is None else table_fd, ROWS * DIGEST_BYTES)
        self._free = deque(range(ROWS))
        self._lingering: deque[tuple[float, int]] = deque()
        self._lock, self._suspects = Lock(), Lock()

    @contextmanager
    def watch(self, pictures: Sequence[bytes | memoryview]) -> Iterator["Case"]:
        """Notes pictures as in work while the block lasts.

        Args:
            pictures: as they came, before anything looks into them: a decoder may crash too.

        Raises:
            Overloaded: they have deaths to their name, and too many such pictures are before them.
        """
        digests = [hashlib.sha256(picture).digest() for picture in pictures] if self._folder else []
        with self._turn(digests):
            case = Case(self, digests, [self.deaths(digest) for digest in digests])
            rows = self._hold(digests)
            try:
                yield case
            finally:
                self._release(rows, linger=case.given_up)

    @contextmanager
    def _turn(self, digests: Sequence[bytes]) -> Iterator[None]:
        """Lets suspects in one by one, everybody else at once."""
        if not any(0 < self.deaths(digest) < DEATHS for digest in digests):
            yield
            return
        self._sleep(SETTLE_S)
        if not self._suspects.acquire(timeout=TURN_S):
            raise Overloaded("pictures that may have ended instances wait for each other here; try again")
        try:
            yield
        finally:
            self._suspects.release()

    def blame(self) -> int:
        """Adds a death to every picture in work, for the master of a worker that has died; returns how many."""
        held = {bytes(self._table[at : at + DIGEST_BYTES]) for at in range(0, len(self._table), DIGEST_BYTES)} - {EMPTY}
        if self._folder is None or not held:
            return 0
        self._folder.mkdir(parents=True, exist_ok=True)
        self._forget_expired(self._folder)
        for digest in held:
            with (self._folder / digest.hex()).open("ab") as file:
                file.write(b"+")
        return len(held)

    def deaths(self, digest: bytes) -> int:
        """How many processes died while they worked on this picture, as far as that is remembered."""
        if self._folder is None:
            return 0
        try:
            found = (self._folder / digest.hex()).stat()
        except FileNotFoundError:
            return 0
        return found.st_size if self._clock() - found.st_mtime < self._expiry_s else 0

    def acquit(self, digest: bytes) -> None:
        """Forgets a picture's deaths: it can be answered."""
        if self._folder is not None:
            with suppress(FileNotFoundError):
                (self._folder / digest.hex()).unlink()

    def _forget_expired(self, folder: Path) -> None:
        for file in folder.iterdir():
            # Another instance's master may be at the same.
            with suppress(FileNotFoundError):
                if self._clock() - file.stat().st_mtime >= self._expiry_s:
                    file.unlink()

    def _hold(self, digests: Sequence[bytes]) -> list[int]:
        with self._lock:
            while self._lingering and (
                self._lingering[0][0] <= time.monotonic() or len(self._free) < max(len(digests), 1)
            ):
                self._empty(self._lingering.popleft()[1])
            rows = [self._free.popleft() for _ in digests[: len(self._free)]]
            for row, digest in zip(rows, digests, strict=False):
                self._table[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES] = digest
        return rows

    def _release(self, rows: Sequence[int], *, linger: bool) -> None:
        with self._lock:
            for row in rows:
                if linger:
                    self._lingering.append((time.monotonic() + self._linger_s, row))
                else:
                    self._empty(row)

    def _empty(self, row: int) -> None:
        self._table[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES] = EMPTY
        self._free.append(row)


class Case:
    """The pictures of one request: asked before each is worked on, told what came of it.

    Attributes:
        given_up: whether any of them may still be in the engine.
    """

    def __init__(self, quarantine: Quarantine, digests: Sequence[bytes], deaths: Sequence[int]) -> None:
        self._quarantine, self._digests, self._deaths = quarantine, digests, deaths
        self.given_up = False

    def check(self, index: int) -> None:
        """Lets a picture in.

        Raises:
            Quarantined: too many processes died while they worked on it.
        """
        if self._deaths and self._deaths[index] >= DEATHS:
            raise Quarantined(
                f"picture {self._digests[index].hex()[:16]}: {self._deaths[index]} instances died while they worked on "
                "it, so it is refused for a while; send another one, or the same scene encoded anew"
            )

    def close(self, index: int, outcome: object) -> None:
        """Takes what came of a picture: an answer, or the error it got."""
        if isinstance(outcome, DeadlineExceeded):
            self.given_up = True
        elif self._deaths and self._deaths[index] and _acquits(outcome):
            self._quarantine.acquit(self._digests[index])


def _acquits(outcome: object) -> bool:
    if isinstance(outcome, ServiceError):
        return isinstance(outcome, RequestError) and not isinstance(outcome, Quarantined)
    return True
