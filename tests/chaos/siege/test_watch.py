"""What a fleet holds is read from /proc and its folder, and compared with what it may hold."""

import subprocess
import sys
from pathlib import Path

from chaos.machine import MIB
from chaos.siege.watch import DISK_BYTES, LEFT_BYTES, MEMORY_BYTES, Reading, exceeded, read

# Holds a file open that has no name any more, and 40 MiB of memory of which it gives half back.
HOLDER = """
import os, sys
file = open(sys.argv[1], "wb", buffering=0)
file.write(bytes(8 * 2**20))
os.remove(sys.argv[1])
more, less = b"x" * 40 * 2**20, b"x" * 2**20
del more
print("ready", flush=True)
sys.stdin.read()
"""


def reading(memory: int = 0, disk: int = 0, unlinked: int = 0) -> Reading:
    return Reading(0.0, {"cpu0": 0}, {"cpu0": memory}, disk, unlinked)


def test_memory_its_peak_and_files_without_a_name_are_seen(tmp_path: Path) -> None:
    environment = {"FRAMEFLEET_INSTANCE": "cpu0"}
    command = (sys.executable, "-c", HOLDER, str(tmp_path / "body"))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdin and holder.stdout
        holder.stdout.readline()
        seen = read(tmp_path)
        holder.stdin.close()
    assert seen.unlinked_bytes == 8 * MIB
    assert seen.peaks["cpu0"] > 40 * MIB and 0 < seen.resident["cpu0"] <= seen.peaks["cpu0"] - 20 * MIB


def test_files_with_a_name_are_counted(tmp_path: Path) -> None:
    before = read(tmp_path).disk_bytes
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "x.log").write_bytes(bytes(MIB))
    assert read(tmp_path).disk_bytes - before == MIB


def test_each_limit_is_told_by_itself() -> None:
    calm = reading()
    assert exceeded([calm, reading(MEMORY_BYTES, DISK_BYTES), reading(0, LEFT_BYTES)]) == ()
    assert exceeded([calm, reading(MEMORY_BYTES + MIB), calm]) == ("an instance's memory: 701 MiB, over 700",)
    assert exceeded([calm, reading(unlinked=DISK_BYTES + MIB), calm]) == ("the disk: 1025 MiB, over 1024",)
    assert exceeded([calm, reading(unlinked=LEFT_BYTES + MIB)]) == ("the disk after the attack: 65 MiB, over 64",)
    assert exceeded([]) == ("nothing was measured",)
