"""Lets one at a time work on a host or a fleet; the second is told who is at it. Only the standard library.

The kernel frees what is held here when its holder dies, however that happens, so nothing is ever broken by hand.
"""

import fcntl
import getpass
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.errors import ControlError, PreflightError, Problem
from deploy.machine.run_files import MAX_STATE_BYTES, make_folder, open_to_append, open_to_read
from framefleet.machine.claim import ClaimedError, claimed, holder_text


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


def this_holder(what: str, environ: Mapping[str, str], now: float | None = None) -> Holder:
    """Describes this process as a holder."""
    return Holder(environ.get("SUDO_USER") or getpass.getuser(), what, os.getpid(), time.time() if now is None else now)


@contextmanager
def deploy_lock(file: Path, holder: Holder) -> Iterator[Holder | None]:
    """Holds the lock for a while.

    Args:
        file: the lock; its folder is made if it is missing.
        holder: who will hold it.

    Yields:
        Who died while holding it last; None if they had finished.

    Raises:
        ControlError: somebody else holds it.
    """
    make_folder(file.parent)
    with open_to_append(file) as lock:
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


def lock_holder(file: Path) -> Holder | None:
    """Who holds a lock now; None if nobody does: then another process may have the last one's id by now.

    Raises:
        ControlError: something else stands in the lock's place.
    """
    with suppress(OSError), open_to_read(file) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(file)
    return None


def _read(file: Path) -> Holder | None:
    try:
        with open_to_read(file) as held:
            return Holder(**json.loads(held.read(MAX_STATE_BYTES)))
    except (ValueError, TypeError):  # nobody, or cut off while they wrote it
        return None


@contextmanager
def port_claims(addresses: Iterable[tuple[str, int]]) -> Iterator[None]:
    """Claims ports from before they are tried until a fleet listens on them.

    nginx and the instances share their ports (`SO_REUSEPORT`), so the kernel lets a second fleet of the same user in,
    and each would answer for the other.

    Args:
        addresses: host and port of each.

    Raises:
        PreflightError: another command is about to start a fleet on one.
    """
    with ExitStack() as held:
        for port in sorted({port for _, port in addresses}):
            try:
                held.enter_context(claimed(f"start-{port}"))
            except ClaimedError as error:
                what = f"{holder_text(error.pid)} is starting a fleet on it"
                raise PreflightError(Problem(f"port {port}", what, "wait for it, or choose another port")) from None
        yield
