"""What a rehearsal sees of and does to the machine: processes, memory, descriptors, ports, a small disk."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
LISTEN = "0A"
STOPPED = "T"
KIB, MIB = 2**10, 2**20
STANDARD_STREAMS = 3


@dataclass(frozen=True, slots=True)
class Process:
    """A process: its `pid`, its `parent`'s, and its `name`."""

    pid: int
    parent: int
    name: str


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a fleet holds: `memory_bytes` (shared pages counted once, where the kernel tells) and `descriptors`."""

    memory_bytes: int
    descriptors: int


def processes() -> Iterator[Process]:
    """Every living process that can be read."""
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                head, _, tail = (entry / "stat").read_text().rpartition(")")
            except OSError:
                continue
            state, parent, *_ = tail.split()
            if state != "Z":
                yield Process(int(entry.name), int(parent), head.partition("(")[2])


def belongs(process: Process, folder: Path) -> bool:
    """Whether a process was started for, or holds a file open in, a fleet's folder."""
    mark, entry = os.fsencode(folder), PROC / str(process.pid)
    try:
        if process.pid == os.getpid():
            return False
        if mark in (entry / "cmdline").read_bytes() or mark in (entry / "environ").read_bytes():
            return True
        # nginx overwrites both, but keeps its logs open.
        return any(mark in os.readlink(os.fsencode(link)) for link in (entry / "fd").iterdir())
    except OSError:
        return False


def started_as(folder: Path, module: str) -> int:
    """Process id of what runs a Python module for a fleet's folder; 0 if nothing does."""
    for process in processes():
        with suppress(OSError):
            words = (PROC / str(process.pid) / "cmdline").read_bytes().split(b"\0")
            if module.encode() in words and belongs(process, folder):
                return process.pid
    return 0


def is_stopped(pid: int) -> bool:
    """Whether a process is there and has been stopped by a signal."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == STOPPED
    except OSError:
        return False


def parent_of(pid: int) -> int:
    """Process id of a process's parent; 0 if it is gone."""
    return next((process.parent for process in processes() if process.pid == pid), 0)


def children_of(pid: int) -> tuple[int, ...]:
    """Process ids of a process's children."""
    return tuple(process.pid for process in processes() if process.parent == pid)


def footprint(folder: Path) -> Footprint:
    """What all processes of a fleet hold together."""
    memory = descriptors = 0
    for process in processes():
        if belongs(process, folder):
            entry = PROC / str(process.pid)
            try:
                descriptors += len(list((entry / "fd").iterdir()))
                lines = (entry / "smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            memory += sum(int(line.split()[1]) * KIB for line in lines if line.startswith("Pss:"))
    return Footprint(memory, descriptors)


def listening() -> frozenset[int]:
    """TCP ports somebody listens on."""
    rows = [row.split() for row in (PROC / "net" / "tcp").read_text().splitlines()[1:]]
    return frozenset(int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == LISTEN)


def starve_of_descriptors(pid: int) -> None:
    """Lets a process open no further file, whichever of those it has open it closes meanwhile."""
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    # The limit is on the numbers, and those of the standard streams stay taken.
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (STANDARD_STREAMS, hard))


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[bool]:
    """Gives a folder a small disk of its own, where root may; says whether it did."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ("mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=755", "tmpfs", str(folder))
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            # Lazily: whatever still holds a log open must not keep the rest from being cleared away.
            subprocess.run(("umount", "-l", str(folder)), check=False)
