"""What all processes of a server have used together, by the kernel's own accounting.

A keeper (`bench.peers.keeper`) stands above each server and adopts whatever its processes leave behind, so that the
tree below it is the whole server: workers, balancers, helpers and what has ended since.
"""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """One process: its own and its parent's `pid`, CPU s of its own and of those it has waited for, ticks at start."""

    pid: int
    parent: int
    own_s: float
    ended_s: float
    started: int


def tree(root: int) -> list[Process]:
    """A process and all below it, itself first.

    Raises:
        ProcessLookupError: there is none.
    """
    every = {process.pid: process for process in map(_read, _pids()) if process}
    if root not in every:
        raise ProcessLookupError(f"process {root} has ended")
    below: dict[int, list[int]] = {}
    for process in every.values():
        below.setdefault(process.parent, []).append(process.pid)
    order = [root]
    for pid in order:
        order.extend(below.get(pid, ()))
    return [every[pid] for pid in order]


def cpu_s(root: int) -> float:
    """CPU seconds, user and system, of a tree since it began, with all that have ended in it."""
    return sum(process.own_s + process.ended_s for process in tree(root))


def pss_mb(root: int) -> float:
    """Memory of a tree in MB: what is shared counts once (proportional set size)."""
    return sum(map(_pss_kb, (process.pid for process in tree(root)[1:]))) / 1000


def busiest(before: list[Process], after: list[Process]) -> int:
    """The process that took most CPU time of its own between two looks at a tree, the keeper left out."""
    had = {(process.pid, process.started): process.own_s for process in before}
    return max(after[1:], key=lambda process: process.own_s - had.get((process.pid, process.started), 0)).pid


def end_all(root: int) -> None:
    """Kills what is below a process: a server that did not end when it was asked to."""
    with suppress(ProcessLookupError):
        for process in reversed(tree(root)[1:]):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def _pids() -> list[int]:
    return [int(path.name) for path in PROC.iterdir() if path.name.isdigit()]


def _read(pid: int) -> Process | None:
    try:
        # The name stands in brackets and may hold brackets and blanks of its own.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    user, system, ended_user, ended_system = (int(field) / TICKS_PER_S for field in fields[11:15])
    return Process(pid, int(fields[1]), user + system, ended_user + ended_system, int(fields[19]))


def _pss_kb(pid: int) -> int:
    with suppress(OSError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
