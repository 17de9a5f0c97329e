"""Says of an exception what a person at a terminal can do about it, in one line."""

import errno
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from framefleet.machine.ownership import why_denied

FAILED = 1
OUR_FAULT = 70  # EX_SOFTWARE
MAKEFILE = Path(__file__).resolve().parent.parent / "Makefile"
# What is wrong is the operating system's to say, what to do about it ours.
CURES = {
    errno.ENOSPC: "make room, or choose another folder (`df -h` shows where there is some)",
    errno.EDQUOT: "make room, or choose another folder: this user's quota is used up",
    errno.EROFS: "choose another folder: nothing can be written in this one",
    errno.ENOENT: "check the name; relative ones begin at the folder this was called from",
    errno.ENOTDIR: "check the name: a part of it is a file",
    errno.EISDIR: "name a file, this is a folder",
    errno.ENAMETOOLONG: "choose a shorter one",
    errno.ELOOP: "its links lead in a circle: name what they should lead to",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.ENFILE: "this machine has no more open files to give: see what holds them (`lsof`)",
    errno.EAGAIN: "this user may have no more processes (`ulimit -u`), or the machine has no more to give",
    errno.ENOMEM: "ask for less at once, or give this machine more memory",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, for people and for scripts.

    Attributes:
        text: one line, with what to do about it.
        code: the exit code it deserves.
    """

    text: str
    code: int


def explain(error: BaseException) -> Failure:
    """Puts an exception that nobody nearer to its cause has caught into words."""
    match error:
        case MemoryError():
            return Failure("out of memory; ask for less at once, or give this machine more", FAILED)
        case ImportError():
            return Failure(_missing(error), FAILED)
        case OSError() if error.errno is not None:
            return Failure(explain_os_error(error), FAILED)
        case UnicodeEncodeError(reason="surrogates not allowed"):
            what = f"a file's name is not in the encoding of this environment ({sys.getfilesystemencoding()})"
            return Failure(f"{what}; set LC_ALL=C.UTF-8, or choose another name", FAILED)
    first = (str(error).strip().splitlines() or ["no more is known"])[0]
    if isinstance(error, OSError | subprocess.SubprocessError):  # such as what `requests` raises
        return Failure(f"{first} ({type(error).__name__})", FAILED)
    return Failure(f"a fault of this program, {type(error).__name__}: {first}; please report it", OUR_FAULT)


def explain_os_error(error: OSError) -> str:
    """Says where the operating system refused what, and what to do: whose file it is, if that is why."""
    what = (error.strerror or str(error)).lower()
    where = " and ".join(
        os.fsdecode(name) if isinstance(name, bytes) else str(name)
        for name in (error.filename, error.filename2)
        if name is not None
    )
    # A number is a file descriptor.
    if isinstance(error, PermissionError) and isinstance(error.filename, str | bytes):
        return f"{where}: {what}; {why_denied(Path(os.fsdecode(error.filename)))}"
    cure = CURES.get(error.errno or 0, "")
    return ": ".join(text for text in (where, what) if text) + (f"; {cure}" if cure else "")


def _missing(error: ImportError) -> str:
    what = f"{error.name} is not installed" if isinstance(error, ModuleNotFoundError) else str(error)
    cure = "run `make setup`, and use .venv/bin/python" if MAKEFILE.exists() else "deploy this host's bundle again"
    return f"{what} (for {sys.executable}); {cure}"
