"""Keeps the traceback of a failure for who has to find its cause; terminals get one line."""

import os
import stat
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path

# The state folder of who works in a checkout, made by whatever needs it first.
LOGS = Path("var") / "log"
# supervisord sets it in every program, and so in a terminal that one of them opens.
SUPERVISED = "SUPERVISOR_ENABLED"


def is_supervised() -> bool:
    """True if what is printed goes into a program's log, which is the right place for a traceback."""
    return SUPERVISED in os.environ and not (sys.stderr and sys.stderr.isatty())


def keep_traceback(error: BaseException, name: str) -> str:
    """Writes a traceback into the folder of logs, else that for temporary files, readable by its owner alone.

    Args:
        error: whose.
        name: of the command.

    Returns:
        The path of the file, one per command, of the last failure; empty if there is none, or it went into a log.
    """
    text = "".join(traceback.format_exception(error))
    if is_supervised():
        with suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)
        return ""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    text = f"{stamp} {name}, Python {sys.version.split()[0]}\n{text}"
    for folder in (LOGS, Path(tempfile.gettempdir())):
        with suppress(OSError):
            return str(_write(folder, name, text))
    return ""


def _is_own(folder: Path) -> bool:
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _write(folder: Path, name: str, text: str) -> Path:
    if folder == LOGS:
        # Root makes no folder in another user's: they could not use it. Nor does it write to one that they chose.
        if folder.parent.stat().st_uid == os.geteuid():
            folder.mkdir(exist_ok=True)
        if os.geteuid() == 0 and not all(_is_own(each) for each in (folder.parent, folder)):
            raise PermissionError
    descriptor, scratch = tempfile.mkstemp(".txt", f"framefleet-{name}-", folder)
    try:
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:  # a full disk
        os.unlink(scratch)
        raise
    if folder != LOGS:
        return Path(scratch)  # anybody may write there: only a name that nobody can foresee is ours
    # No `.log`, which `logs` would show as a program's.
    last = folder / f"{name}-traceback.txt"
    os.replace(scratch, last)
    return last.absolute()
