"""A wall clock that jumps, for the Python processes of a rehearsal: `time.time` follows a file, in s from the real one.

The machine's own clock stays as it is, since it is everybody's; and so does the monotonic clock, which cannot jump.
"""

import time
from pathlib import Path

_real = time.time


def install(file: Path) -> None:
    """Lets this process's clock follow a file; without one it is right."""

    def jumping() -> float:
        try:
            return _real() + float(file.read_text())
        except (OSError, ValueError):
            return _real()

    time.time = jumping


def make(supervisord: object, file: str) -> object:
    """Installs it in supervisord, which calls this as it calls every factory of an RPC interface; it offers nothing."""
    install(Path(file))
    return object()
