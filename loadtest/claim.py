"""Keeps load runs apart: one at a time in a folder, and one from this machine against an address.

Both claims are the kernel's: they end with the process that holds them, however it ends. A process that the holder
started shares them.
"""

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from loadtest.errors import RunError

LOCK = ".lock"
PORTS = {"http": 80, "https": 443}
# So many refused ones can ask who holds a claim; it is never answered, the kernel knows.
WAITING = 64
_CREDENTIALS = struct.Struct("3i")


@contextmanager
def folder_claim(folder: Path) -> Iterator[None]:
    """Nobody else writes into a run's folder while the block lasts; the folder is made if it is missing.

    Raises:
        RunError: somebody does, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a+")
    except OSError as error:
        raise RunError(f"{folder}: {error.strerror}; give another folder with --out") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _demand_shared(_noted(folder / LOCK), f"{folder}: {{}} is writing there", ", or give another folder")
            yield
            return
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


@contextmanager
def target_claim(url: str) -> Iterator[None]:
    """No other load goes from this machine to an address while the block lasts: two would measure each other.

    It is a name in the kernel and no file, so that users who share the machine need no folder in common.

    Raises:
        RunError: another load does.
    """
    name = "\0framefleet-load-" + sha256(_endpoint(url).encode()).hexdigest()[:32]
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as claim:
        try:
            claim.bind(name)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _demand_shared(_owner(name), f"{url}: {{}} is loading it, and two loads would measure each other", "")
        else:
            claim.listen(WAITING)
        yield


def _demand_shared(holder: int, what: str, otherwise: str) -> None:
    """Makes sure that a claim's holder is this process, or one that it descends from."""
    if holder and holder in lineage():
        return
    who, end = (f"process {holder}", f", end it (kill {holder})") if holder else ("another process", "")
    raise RunError(f"{what.format(who)}; wait for it{end}{otherwise}")


def _noted(lock: Path) -> int:
    try:
        return int(lock.read_text(encoding="ascii"))
    except (OSError, ValueError):  # it has only just begun, or it ended in this moment
        return 0


def _owner(name: str) -> int:
    """Process id of who listens there; 0 if it cannot be seen from here."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as question:
        try:
            question.setblocking(False)
            question.connect(name)
            peer = question.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return 0
    pid: int = _CREDENTIALS.unpack(peer)[0]
    return pid


def lineage() -> Iterator[int]:
    """Process ids: this one, its parent, and so on."""
    pid = os.getpid()
    while pid > 0:
        yield pid
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        # The name before it may hold blanks and brackets.
        pid = int(stat.rpartition(")")[2].split()[1])


def _endpoint(url: str) -> str:
    """The same text for every way to write an address."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)
    try:
        found = sorted(str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except OSError:  # nobody will be reached either
        found = [host]
    # A loopback name has two addresses, and each stands for the other.
    return f"{'127.0.0.1' if found[0] == '::1' else found[0]} {port}"
