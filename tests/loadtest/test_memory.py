"""What is large on disk or long in time is small in memory, as the kernel counts it for a process of its own."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from loadtest.frames.pattern import PATTERNS

MIB = 2**20
# The peak of this process alone: ru_maxrss begins with what its parent had when it forked.
PEAK = """
def peak():
    status = open("/proc/self/status").read()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
"""
DAY = """
import sys
from itertools import islice
from loadtest.frames import pattern
from loadtest.generate import prepare
from loadtest.options import ReplayOptions, checked
options = checked(ReplayOptions(cameras=40, fps=25, seconds=86_400, warmup_s=60, arrivals=sys.argv[1]))
schedule = pattern.draw(options.pattern, (), tuple(number / 25 for number in range(300)))
drawn = list(islice(schedule, 200_000))
print(schedule.count_from(60.0), len(drawn), drawn[-1].due_s, peak())
"""
CUT = """
import sys
from pathlib import Path
from loadtest.frames.frames import CutSettings, cut
from loadtest.frames.spool import HELD_BYTES
frames = cut(Path(sys.argv[1]), CutSettings())
print(len(frames.jpegs), sum(map(len, frames.jpegs)) > HELD_BYTES, peak())
"""


def told(script: str, argument: str, root: Path) -> list[str]:
    command = [sys.executable, "-c", PEAK + script, argument]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("kind", [kind for kind in PATTERNS if kind not in ("closed", "timestamps")])
def test_a_day_of_forty_cameras_is_planned_in_under_200_mb(kind: str, repo_root: Path) -> None:
    counted, drawn, last_s, peak = map(float, told(DAY, kind, repo_root))
    # Poisson arrivals of the first minute are as many as chance has it.
    assert counted == pytest.approx(1000 * (86_400 - 60), rel=1e-4)
    assert (drawn, round(last_s / 200)) == (200_000, 1)
    assert peak < 200 * MIB


def test_a_clip_is_cut_without_all_its_pictures_in_memory(tmp_path: Path, repo_root: Path) -> None:
    """24 frames of 3840x2160: 600 MB as pictures, and more as JPEG than is held in memory."""
    clip = tmp_path / "4k.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 25, (3840, 2160))
    noise = np.random.default_rng(1).integers(0, 256, (2160, 3840, 3), dtype=np.uint8)
    for _ in range(24):
        writer.write(noise)
    writer.release()
    frames, spilled, peak = told(CUT, str(clip), repo_root)
    assert (frames, spilled) == ("24", "True")
    assert int(peak) < 500 * MIB
