"""Keeps load runs apart: one at a time in a folder, and one from this machine against an address.

Both claims are the kernel's: they end with the process that holds them, however it ends. A process that the holder
started shares them.
"""

import fcntl
import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from framefleet.machine.claim import ClaimedError, claimed, holder_text, lineage
from loadtest.errors import RunError

LOCK = ".lock"
PORTS = {"http": 80, "https": 443}


@contextmanager
def folder_claim(folder: Path) -> Iterator[None]:
    """Nobody else writes into a run's folder while the block lasts; the folder is made if it is missing.

    Raises:
        RunError: somebody does, or the folder cannot be made.
        PermissionError: it is somebody else's.
    """
    file = folder / LOCK
    lock = _lock(file)
    if lock is None:
        yield
        return
    with lock:
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


@contextmanager
def target_claim(url: str) -> Iterator[None]:
    """No other load goes from this machine to an address while the block lasts: two would measure each other.

    Raises:
        RunError: another load does.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(claimed(f"load-{sha256(_endpoint(url).encode()).hexdigest()[:32]}"))
        except ClaimedError as error:
            _demand_shared(error.pid, f"{url}: {{}} is loading it, and two loads would measure each other", "")
        yield


def _lock(file: Path) -> TextIO | None:
    """Locks a file, made if it is missing; none if the lock is held by this process, or one that it descends from."""
    while True:
        lock = _opened(file)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have removed it since it was opened: then it keeps nobody off.
            if os.path.samestat(os.fstat(lock.fileno()), file.stat()):
                return lock
        except BlockingIOError:
            lock.close()
            _demand_shared(_noted(file), f"{file.parent}: {{}} is writing there", ", or give another folder")
            return None
        except FileNotFoundError:
            pass
        lock.close()


def _opened(file: Path) -> TextIO:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.open("a+", encoding="ascii")
    except PermissionError:  # whose it is, is said where every command ends
        raise
    except OSError as error:
        raise RunError(f"{file.parent}: {error.strerror}; give another folder with --out") from None


def _demand_shared(holder: int, what: str, otherwise: str) -> None:
    """Makes sure that a claim's holder is this process, or one that it descends from."""
    if holder and holder in lineage():
        return
    end = f", end it (kill {holder})" if holder else ""
    raise RunError(f"{what.format(holder_text(holder))}; wait for it{end}{otherwise}")


def _noted(lock: Path) -> int:
    try:
        return int(lock.read_text(encoding="ascii"))
    except (OSError, ValueError):  # it has only just begun, or it ended in this moment
        return 0


def _endpoint(url: str) -> str:
    """The same text for every way to write an address."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)
    try:
        found = sorted(str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except OSError:  # nobody will be reached either
        found = [host]
    # A service on this machine has many: of loopback, of each network, and the one that stands for all of them.
    return f"{'here' if any(map(_is_ours, found)) else found[0]} {port}"


def _is_ours(text: str) -> bool:
    """Whether an address is one of this machine's: then it can be listened at."""
    try:
        address = ipaddress.ip_address(text)
        with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:  # noqa: PLR2004 - IPv4
            probe.bind((text, 0))
    except (ValueError, OSError):
        return False
    return not address.is_multicast
