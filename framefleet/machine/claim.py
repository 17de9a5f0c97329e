"""Names that one process of this machine can hold at a time; the kernel frees them with it, however it ends.

They are names in the kernel (abstract sockets) and no files: users who share the machine need no folder in common, and
nothing is left behind.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

# So many who are refused can ask who holds a name; they are never answered, the kernel knows.
_WAITING = 64
_CREDENTIALS = struct.Struct("3i")


class ClaimedError(Exception):
    """Another process holds the name; `pid` is its process id, 0 if it cannot be seen from here."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"held by {holder_text(pid)}")
        self.pid = pid


@contextmanager
def claimed(name: str) -> Iterator[None]:
    """Holds a name while the block lasts.

    Args:
        name: of at most 90 ASCII letters.

    Raises:
        ClaimedError: another process holds it, or this one does already.
    """
    address = f"\0framefleet-{name}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as claim:
        try:
            claim.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise ClaimedError(_owner(address)) from None
        claim.listen(_WAITING)
        yield


def holder_text(pid: int) -> str:
    """A process in words."""
    return f"process {pid}" if pid else "another process"


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


def _owner(address: str) -> int:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as question:
        try:
            question.setblocking(False)
            question.connect(address)
            peer = question.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return 0
    pid: int = _CREDENTIALS.unpack(peer)[0]
    return pid
