"""Lets one deploy at a time work on a host; the second is told who is at it. Only the standard library."""

import fcntl
import getpass
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.errors import ControlError, Problem


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, or died holding it.

    Attributes:
        who: user name, of the person behind sudo where there is one.
        what: what they are doing.
        pid: their process.
        since: s since the epoch.
    """

    who: str
    what: str
    pid: int
    since: float

    def since_when(self, now: float) -> str:
        """Says all of it in words."""
        return f"{self.what} by {self.who} (pid {self.pid}), since {max(0.0, now - self.since):.0f} s"


@contextmanager
def deploy_lock(file: Path, holder: Holder) -> Iterator[Holder | None]:
    """Holds the lock for a while.

    The kernel frees it when its holder dies, however that happens, so there is no stale lock to break by hand.

    Args:
        file: the lock; its folder is made if it is missing.
        holder: who will hold it.

    Yields:
        Who died while holding it last; None if they had finished.

    Raises:
        ControlError: somebody else holds it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = _read(file)
            doing = other.since_when(holder.since) if other else "another one"
            raise ControlError(Problem(str(file), f"busy with {doing}", "wait for it to end")) from None
        died = _read(file)
        lock.truncate(0)
        lock.write(json.dumps(asdict(holder)))
        lock.flush()
        try:
            yield died
        finally:
            lock.truncate(0)


def this_holder(what: str, environ: Mapping[str, str], now: float | None = None) -> Holder:
    """Describes this process as a holder."""
    return Holder(environ.get("SUDO_USER") or getpass.getuser(), what, os.getpid(), time.time() if now is None else now)


def _read(file: Path) -> Holder | None:
    try:
        return Holder(**json.loads(file.read_text()))
    except (ValueError, TypeError):  # nobody, or cut off while they wrote it
        return None
