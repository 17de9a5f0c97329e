"""Refuses pictures that instances keep dying of, so that one bad picture cannot take a whole fleet down.

When a worker dies its master blames what was in work in that moment (`in_work.py`): it adds a byte to a file named
by a keyed hash of the picture, in a folder that all instances of a host share. So that nobody can have somebody else's
picture refused, a death in company only makes suspects, and suspects run alone, one after the other: a picture with
three deaths, two of them alone, is refused. One that never died alone is let in even where it cannot be alone, and one
that is answered anywhere is acquitted.

`host_secret`: the secret of a host: its instances name pictures with it, so that who does not know it cannot aim at a
name.

It lies in the folder that they share, for its owner alone. Whoever comes first makes it, whole or not at all; a damaged
one is made anew, and what it named is forgotten. No start and no request fails for it.
"""

import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Lock

from xxhash import xxh3_128_digest

from service.errors import Overloaded, Quarantined, RequestError, ServiceError
from service.log import log_event
from service.safeguards.in_work import NO_MARK, Doubt, InWork, Mark
from service.settings import Settings

# Until the master of a worker that has just died has noted it: the balancer is quicker with its next try.
SETTLE_S = 0.1
# A suspect's turn; one that hangs is given up, and ended by the watchdog, later than that.
TURN_S = 3.0
# That of one that never died alone, or once, as pictures have that were in a process which somebody killed.
FIRST_TURN_S = 0.5
# Stage one of the balancer reaches two instances, its last stage a third. The first death may be in company.
DEATHS, DEATHS_ALONE = 3, 2
ALONE, IN_COMPANY = b"+", b"?"
# By xxh3, or by the SHA-256 of earlier releases; other files there are the secret's, and those of `memory.py`.
NAME = re.compile("[0-9a-f]{32}|[0-9a-f]{64}")
FILE = "secret"
SECRET_BYTES = 8


def make_quarantine(settings: Settings, table_fd: int) -> "Quarantine":
    """Makes an instance's quarantine, alike in its worker and its master."""
    folder = Path(settings.quarantine) if settings.quarantine else None
    secret = host_secret(folder) if folder else 0
    return Quarantine(folder, InWork(table_fd), secret=secret, expiry_s=settings.quarantine_s)


def is_refused(record: bytes) -> bool:
    """Whether a picture with such deaths to its name is refused."""
    return len(record) >= DEATHS and record.count(ALONE) >= DEATHS_ALONE


def doubt(record: bytes) -> Doubt:
    """What becomes of a picture with such deaths to its name that is let in.

    One that never died alone is let in even where it cannot be: else whoever keeps the decoders busy has it refused.
    """
    if not record or is_refused(record):
        return Doubt.NONE
    if len(record) == 1:
        return Doubt.FIRST
    return Doubt.OWN if ALONE in record else Doubt.SHARED


class Quarantine:
    """What is refused on this host.

    Args:
        folder: shared by the instances of a host; None refuses nothing.
        in_work: what the worker is at.
        secret: the host's, 64 bits, see `service.safeguards.quarantine`.
        expiry_s: a picture is forgotten so many seconds after the last death.
        clock: Unix seconds, as files are stamped with.
        sleep: waits for s.
    """

    def __init__(
        self,
        folder: Path | None,
        in_work: InWork | None = None,
        *,
        secret: int = 0,
        expiry_s: float = 3600.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.in_work = in_work or InWork()
        self._folder, self._expiry_s, self._clock = folder, expiry_s, clock
        self._secret, self._sleep = secret, sleep
        self._suspects = Lock()
        self._unasked = Case(self, [], [])

    @contextmanager
    def watch(self, pictures: Sequence[bytes | memoryview]) -> Iterator["Case"]:
        """Looks up what is known of pictures; suspects are let in one by one, everybody else at once.

        Args:
            pictures: as they came, before anything looks into them: a decoder may crash too.

        Raises:
            Overloaded: they have deaths to their name, and too many such pictures are before them.
        """
        case = self._case([self.digest(picture) for picture in pictures]) if self._folder else self._unasked
        if not case.doubts:
            yield case
            return
        with ExitStack() as turn:
            self._sleep(SETTLE_S)
            turn.enter_context(self._turn(company=Doubt.OWN not in case.doubts))
            case = self._case(case.digests)
            if not case.doubts:
                turn.close()
            yield case

    def digest(self, picture: bytes | memoryview) -> bytes:
        """Names a picture by 16 bytes; who does not know the secret cannot make another one of that name."""
        return xxh3_128_digest(picture, self._secret)

    def _case(self, digests: Sequence[bytes]) -> "Case":
        return Case(self, digests, [self.record(digest) for digest in digests])

    @contextmanager
    def _turn(self, company: bool) -> Iterator[None]:
        has_turn = self._suspects.acquire(timeout=FIRST_TURN_S if company else TURN_S)
        if not has_turn and not company:
            raise Overloaded("pictures that may have ended instances wait for each other here; try again")
        try:
            yield
        finally:
            if has_turn:
                self._suspects.release()

    def blame(self, *, engine_alone: bool = False) -> int:
        """Adds a death to every picture in work, for the master of a worker that has died; returns how many.

        Args:
            engine_alone: blames none that was being decoded.
        """
        held = self.in_work.left(engine_alone=engine_alone)
        if self._folder is None or not held:
            return 0
        self._folder.mkdir(parents=True, exist_ok=True)
        self._forget_expired(self._folder)
        for digest in held:
            with (self._folder / digest.hex()).open("ab") as file:
                file.write(ALONE if len(held) == 1 else IN_COMPANY)
        return len(held)

    def record(self, digest: bytes) -> bytes:
        """The deaths of processes that were at this picture, a byte each, as far as they are remembered."""
        path = f"{self._folder}/{digest.hex()}"
        if self._folder is None or not os.access(path, os.F_OK):  # without an exception: hardly any is there
            return b""
        try:
            return Path(path).read_bytes() if self._clock() - os.stat(path).st_mtime < self._expiry_s else b""
        except OSError:  # it is gone meanwhile, or the disk is at fault, which is no picture's concern
            return b""

    def acquit(self, digest: bytes) -> None:
        """Forgets a picture's deaths: it can be answered."""
        if self._folder is not None:
            with suppress(OSError):  # as above: it is answered all the same
                os.unlink(f"{self._folder}/{digest.hex()}")

    def _forget_expired(self, folder: Path) -> None:
        for file in folder.iterdir():
            # Another instance's master may be at the same.
            with suppress(FileNotFoundError):
                if NAME.fullmatch(file.name) and self._clock() - file.stat().st_mtime >= self._expiry_s:
                    file.unlink()


class Case:
    """The pictures of one request: asked before each is worked on, told what came of it.

    Args:
        quarantine: whom it asks.
        digests: the pictures' names; empty where nobody asks: then each is let in, and none noted.
        records: what is known of each.
    """

    def __init__(self, quarantine: Quarantine, digests: Sequence[bytes], records: Sequence[bytes]) -> None:
        self.digests, self._quarantine, self._records = digests, quarantine, records
        self._marks = [Mark(digest, doubt(record)) for digest, record in zip(digests, records, strict=True)]
        self.doubts = {mark.doubt for mark in self._marks} - {Doubt.NONE}

    def check(self, index: int) -> None:
        """Lets a picture in.

        Raises:
            Quarantined: too many processes died while they worked on it.
        """
        # The error does not say the picture's name: the secret could be worked out from it.
        if self._records and is_refused(self._records[index]):
            raise Quarantined(
                f"{len(self._records[index])} instances died while they worked on this picture, so it is refused for a "
                "while; send another one, or the same scene encoded anew"
            )

    def mark(self, index: int) -> Mark:
        """What stands for a picture while it is worked on."""
        return self._marks[index] if self._marks else NO_MARK

    def decoding(self, index: int) -> AbstractContextManager[None]:
        """Notes a picture as in work while the block lasts: decode it there, and wait for nothing.

        Raises:
            Overloaded: it is a suspect, and cannot be alone.
        """
        return self._quarantine.in_work.decoding(self._marks[index]) if self._marks else nullcontext()

    def close(self, index: int, outcome: object) -> None:
        """Takes what came of a picture: an answer, or the error it got."""
        # Looked up again: another instance may have died of it, or beside it, meanwhile.
        if self.digests and _acquits(outcome) and self._quarantine.record(self.digests[index]):
            self._quarantine.acquit(self.digests[index])


def _acquits(outcome: object) -> bool:
    if isinstance(outcome, ServiceError):
        return isinstance(outcome, RequestError) and not isinstance(outcome, Quarantined)
    return True


def host_secret(folder: Path) -> int:
    """Reads a host's secret, or makes it.

    Args:
        folder: shared by the instances of a host.

    Returns:
        64 bits; another number for each process where the folder gives none: the log says so.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = _read(folder / FILE) or _make(folder / FILE)
    except OSError as error:
        log_event("no_host_secret", folder=str(folder), reason=str(error))
        found = secrets.token_bytes(SECRET_BYTES)
    return int.from_bytes(found, "big")


def _read(path: Path) -> bytes:
    """The secret; empty where there is none, or something else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        found = os.read(descriptor, SECRET_BYTES + 1)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
    return found if len(found) == SECRET_BYTES else b""


def _make(path: Path) -> bytes:
    """Makes the secret, unless another process was quicker.

    Raises:
        OSError: the folder takes none.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(file.name, path)
            if not _read(path):
                os.replace(file.name, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(file.name)
    found = _read(path)
    if not found:
        raise OSError(f"{path} is not what was written there")
    return found
