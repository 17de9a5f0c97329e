"""Reads the programs' log files: the lines that explain a failed start, and what `logs` prints and follows."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from deploy.errors import ControlError
from deploy.machine.run_files import open_to_read

# What a program prints when it gives its reason in one line.
REASON = re.compile(r"cannot start: |\[emerg\] (?!.*still could not bind)|\"event\": \"engine_(fault|hang)\"")
# The last line of a traceback: better than what gunicorn says of a worker that ended with it.
RAISED = re.compile(r"^[\w.]*(Error|Exception|Fault)\b")
# Lines that speak of an error without naming the reason so plainly; the last few are shown.
TROUBLE = re.compile(r"\[(ERROR|CRITICAL|emerg|alert|crit)\]|supervisor: couldn't")
EXCERPT_LINES = 3
# Above what any program's log grows to before it is set aside; more of one would only fill our memory.
MOST_BYTES = 64 * 2**20
# nginx ends, or goes on with its old files, after one of these; but a port it tries again for some seconds.
EMERG = re.compile(r"\[emerg\] (?:\d+#\d+: )?(.+)")
TRIES_AGAIN, GAVE_UP = "bind() to ", "still could not bind()"


def size_of(log: Path) -> int:
    """Bytes in a log file so far; 0 if there is none."""
    try:
        return log.lstat().st_size
    except FileNotFoundError:
        return 0


def explain(log: Path, since: int) -> str:
    """Picks from what was logged since the byte `since` the lines that say why a program ended; may be empty."""
    lines = _lines(log, since)
    for pattern in (REASON, RAISED):
        if reasons := [line for line in lines if pattern.search(line)]:
            return reasons[-1]
    trouble = [line for line in lines if TROUBLE.search(line)]
    return " | ".join((trouble or lines)[-EXCERPT_LINES:])


def nginx_refusal(log: Path, since: int) -> str:
    """Why nginx has refused its files since then, in its own words; empty as long as it has not."""
    found = [match[1] for line in _lines(log, since) if (match := EMERG.search(line))]
    ports = [what for what in found if what.startswith(TRIES_AGAIN)]
    final = [what for what in found if what not in ports]
    return (ports or final)[0] if final and GAVE_UP in final[0] else "".join(final[:1])


def grown_by(log: Path, since: int) -> str:
    """What was logged since the byte `since`."""
    return "\n".join(_lines(log, since))


def _lines(log: Path, since: int) -> list[str]:
    """What was logged since the byte `since`, without empty lines."""
    try:
        with open_to_read(log) as file:
            # A file that has become shorter was rotated.
            size = size_of(log)
            file.seek(max(since if size >= since else 0, size - MOST_BYTES))
            return [
                line.strip() for line in file.read(MOST_BYTES).decode(errors="replace").splitlines() if line.strip()
            ]
    except FileNotFoundError:
        return []
    except ControlError as error:
        return [str(error)]


def log_names(folder: Path) -> tuple[str, ...]:
    """The names `logs` takes: every log file's, without its suffix."""
    try:
        found = os.listdir(folder)  # unlike glob, it says so where it may not look
    except FileNotFoundError:
        return ()
    return tuple(sorted(name.removesuffix(".log") for name in found if name.endswith(".log")))


class Tail:
    """One log file, read to its end again and again, across rotation; close it when done.

    Args:
        path: the file; it need not exist yet.
        lines: how many of the last lines the first reading gives.
    """

    def __init__(self, path: Path, lines: int) -> None:
        self.name = path.stem
        self._path = path
        self._file: IO[bytes] | None = None
        self._rest = b""
        self._lines = lines
        self._opened_before = False
        self._said = ""

    def read(self) -> list[str]:
        """The lines that have been completed since the last call."""
        read = list(self._new_lines())
        first, self._opened_before = not self._opened_before, True
        return read[max(0, len(read) - self._lines) :] if first else read

    def close(self) -> None:
        """Closes the file."""
        if self._file:
            self._file.close()
            self._file = None

    def _new_lines(self) -> Iterator[str]:
        if self._file:
            yield from self._complete(self._file.read(MOST_BYTES))
        if self._replaced():
            self.close()
            try:
                self._file = open_to_read(self._path)
                self._file.seek(max(0, os.fstat(self._file.fileno()).st_size - MOST_BYTES))
            except FileNotFoundError:
                return
            except ControlError as error:
                yield from self._complain(str(error))
                return
            yield from self._complete(self._file.read(MOST_BYTES))

    def _complain(self, why: str) -> Iterator[str]:
        if why != self._said:
            self._said = why
            yield why

    def _complete(self, data: bytes) -> Iterator[str]:
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-MOST_BYTES:]
        for line in lines:
            yield line.decode(errors="replace")

    def _replaced(self) -> bool:
        if not self._file:
            return True
        try:
            now = self._path.stat()
        except OSError:  # such as a link to itself
            return False
        opened = os.fstat(self._file.fileno())
        return (now.st_dev, now.st_ino) != (opened.st_dev, opened.st_ino) or now.st_size < self._file.tell()
