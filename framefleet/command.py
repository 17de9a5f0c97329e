"""Runs one of our command lines: whatever goes wrong becomes one line that says what, where and what to do about it.

Flow: `carry_out("deploy.__main__")` -> that module's `main(arguments)` -> the process's exit code. The module is
imported here, so that a package which is not installed is a line too. Only the standard library: some commands run
before anything is installed.

exit code   of `main`, or
1           what we stand on failed: a file, the disk, memory, a package that is missing
70          a fault of ours (EX_SOFTWARE)
130, 143    interrupted, asked to end
141         who read our output has gone, in the middle of the work

`is_supervised`, `keep_traceback`: keeps the traceback of a failure for who has to find its cause; terminals get one
line.
"""

import importlib
import os
import select
import signal
import stat
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from traceback import walk_tb
from types import FrameType, TracebackType
from typing import NoReturn

from framefleet.failure import explain

INTERRUPTED = 128 + signal.SIGINT
READER_GONE = 128 + signal.SIGPIPE
TERMINATED = 128 + signal.SIGTERM
# The state folder of who works in a checkout, made by whatever needs it first.
LOGS = Path("var") / "log"
# supervisord sets it in every program, and so in a terminal that one of them opens.
SUPERVISED = "SUPERVISOR_ENABLED"


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what was started has to be stopped, as after Ctrl-C."""


def carry_out(module: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Imports a module, calls its `main` with the arguments, and ends the process with what that returns.

    Args:
        module: its whole name, such as `deploy.__main__`; its last word that is no `__main__` begins every line.
        arguments: the command line, without the program's name; None takes this process's own.
    """
    name = _name(module)
    _accept_every_character()
    _show_failures_elsewhere(name)
    if not is_supervised():  # supervisord's programs start others of which it knows
        signal.signal(signal.SIGTERM, _terminate)
    code = _run(module, name, sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left that a second Ctrl-C could hurry
    sys.exit(code if _flush(name, has_failed=bool(code)) else code or 1)


def tell(name: str, error: BaseException, *, lead: str = "") -> int:
    """Prints what went wrong in one line, keeps the traceback where that line says, and returns the exit code.

    Args:
        name: of the command.
        error: what nobody nearer to it has caught.
        lead: what the line begins with; the name, unless readers of a log look for something else.
    """
    failure = explain(error)
    kept = keep_traceback(error, name)
    with suppress(OSError, ValueError):  # nobody reads it
        print(f"{lead or name}: {failure.text}{f' (traceback: {kept})' if kept else ''}", file=sys.stderr, flush=True)
    return failure.code


def _run(module: str, name: str, arguments: Sequence[str]) -> int | str:
    try:
        code: int | None = importlib.import_module(module).main(arguments)
    except SystemExit as end:
        # Text is argparse's and others' way to fail with a line; sys.exit prints it.
        return end.code if isinstance(end.code, int | str) else 0
    except KeyboardInterrupt as error:
        with suppress(OSError, ValueError):
            print(f"{name}: interrupted", file=sys.stderr, flush=True)
        return TERMINATED if isinstance(error, Terminated) else INTERRUPTED
    except BrokenPipeError as error:
        # Or is it a connection's?
        return READER_GONE if _reader_is_gone() else tell(name, error)
    except BaseException as error:
        return tell(name, _placed(error))
    return code or 0


def _name(module: str) -> str:
    return [word for word in module.split(".") if word != "__main__"][-1]


def _accept_every_character() -> None:
    """Lets output show what its encoding cannot say as `?`: a name in another script must not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def _show_failures_elsewhere(name: str) -> None:
    """What Python would print of threads, and of objects that fail while they are cleared away, is a line too."""

    def of_thread(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_value and not isinstance(failed.exc_value, SystemExit):
            tell(name, failed.exc_value)

    def of_object(failed: "sys.UnraisableHookArgs") -> None:
        if failed.exc_value and not isinstance(failed.exc_value, KeyboardInterrupt | BrokenPipeError):
            tell(name, failed.exc_value)

    def of_shutdown(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        tell(name, error)

    threading.excepthook, sys.unraisablehook, sys.excepthook = of_thread, of_object, of_shutdown


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _reader_is_gone() -> bool:
    try:
        poll = select.poll()
        for stream in (sys.stdout, sys.stderr):
            if stream:
                poll.register(stream.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError):
        return True


def _placed(error: BaseException) -> BaseException:
    """The same, with the place where a full disk was met, which only what opens a file names by itself."""
    if not isinstance(error, OSError) or error.errno is None or error.filename is not None:
        return error
    # `Path.write_text` and its like.
    paths = [frame.f_locals.get("self") for frame, _ in walk_tb(error.__traceback__)]
    place = next((str(path) for path in reversed(paths) if isinstance(path, Path)), None)
    if place is None and sys.stdout:
        try:
            sys.stdout.flush()  # what could not be written is tried once more
        except OSError as again:
            place = "standard output" if again.errno == error.errno else None
    return error if place is None else OSError(error.errno, error.strerror, place).with_traceback(error.__traceback__)


def _flush(name: str, *, has_failed: bool) -> bool:
    """Writes out what is still held back; False if it is lost. Python itself would end with a traceback and 120."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:  # `... | head` has seen enough, and all was done
        _drop_output()
    except OSError as error:
        _drop_output()
        if not has_failed:  # else a line has been said, most likely about this
            tell(name, OSError(error.errno, error.strerror, "standard output"))
        return False
    return True


def _drop_output() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


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
