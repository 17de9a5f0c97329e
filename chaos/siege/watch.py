"""Watches a fleet's memory and disk while it is attacked.

Flow: /proc and the fleet's folder, once a second -> [Reading...] -> exceeded -> problems.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from chaos.machine import KIB, MIB, PROC, belongs, processes
from framefleet.repeat import repeated

BLOCK_BYTES = 512
EVERY_S = 1.0
MEMORY_BYTES = 700 * MIB
# What may lie on the disk at once, of bodies that are being sent, and what may be left of it.
DISK_BYTES, LEFT_BYTES = 1024 * MIB, 64 * MIB
INSTANCE = b"FRAMEFLEET_INSTANCE="
DELETED = " (deleted)"


@dataclass(frozen=True, slots=True)
class Reading:
    """How much a fleet holds at one moment.

    Attributes:
        at_s: monotonic.
        resident: bytes of each instance's worker, by the instance's name.
        peaks: the most that worker has ever held, in bytes.
        disk_bytes: of the files below the fleet's folder.
        unlinked_bytes: of files that have no name any more and are held open.
    """

    at_s: float
    resident: Mapping[str, int]
    peaks: Mapping[str, int]
    disk_bytes: int
    unlinked_bytes: int


def read(folder: Path) -> Reading:
    """Takes a reading of the fleet in a folder."""
    resident: dict[str, int] = {}
    peaks: dict[str, int] = {}
    unlinked = 0
    for process in processes():
        if not belongs(process, folder):
            continue
        # It may end meanwhile.
        with suppress(OSError):
            entry = PROC / str(process.pid)
            unlinked += _unlinked(entry, folder)
            if name := _instance(entry):
                # Of master and worker the worker is the larger one.
                resident[name] = max(resident.get(name, 0), _status(entry, "VmRSS:"))
                peaks[name] = max(peaks.get(name, 0), _status(entry, "VmHWM:"))
    return Reading(time.monotonic(), resident, peaks, _below(folder), unlinked)


def exceeded(readings: Sequence[Reading]) -> tuple[str, ...]:
    """What was more than may be, in words."""
    if not readings:
        return ("nothing was measured",)
    memory = max((peak for reading in readings for peak in reading.peaks.values()), default=0)
    most = max(reading.disk_bytes + reading.unlinked_bytes for reading in readings) - readings[0].disk_bytes
    last = readings[-1]
    left = last.disk_bytes + last.unlinked_bytes - readings[0].disk_bytes - readings[0].unlinked_bytes
    limits = (
        ("an instance's memory", memory, MEMORY_BYTES),
        ("the disk", most, DISK_BYTES),
        ("the disk after the attack", left, LEFT_BYTES),
    )
    return tuple(
        f"{what}: {value / MIB:.0f} MiB, over {limit // MIB}" for what, value, limit in limits if value > limit
    )


@contextmanager
def watched(folder: Path) -> Iterator[list[Reading]]:
    """Takes a reading every second as long as the block lasts, and one at its end."""
    readings = [read(folder)]
    try:
        with repeated(lambda: readings.append(read(folder)), lambda: EVERY_S):
            yield readings
    finally:
        readings.append(read(folder))


def _instance(entry: Path) -> str:
    variables = (entry / "environ").read_bytes().split(b"\0")
    return next((text.removeprefix(INSTANCE).decode() for text in variables if text.startswith(INSTANCE)), "")


def _status(entry: Path, key: str) -> int:
    lines = (entry / "status").read_text().splitlines()
    return next((int(line.split()[1]) * KIB for line in lines if line.startswith(key)), 0)


def _unlinked(entry: Path, folder: Path) -> int:
    found = 0
    for link in (entry / "fd").iterdir():
        with suppress(OSError):
            target = os.readlink(link)
            if target.endswith(DELETED) and target.startswith(str(folder)):
                found += link.stat().st_blocks * BLOCK_BYTES
    return found


def _below(folder: Path) -> int:
    found = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found += os.lstat(Path(path, name)).st_blocks * BLOCK_BYTES
    return found
