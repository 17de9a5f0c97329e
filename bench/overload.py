"""Twice the load an instance holds, for a minute: `python -m bench.overload`.

Prints what becomes of accepted and of refused requests, and the throughput against its peak in the same run.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("bench.overload")


import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from bench.instance import instance
from loadtest.measure import sample_files

FPS = 5
PEAK_SECONDS = 20
DEADLINE_MS = 5000
LOADS = {
    # A stand-in accelerator that holds about 67 frames/s, so that the two cores are not what is measured.
    "simulated": {"model": "simulated:a_ms=40,b_ms=5", "max_batch": 4, "rate": 67},
    "default model": {"rate": 100},
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A replay's figures: frames/s offered and answered, counts by status, and latencies in ms from the send."""

    offered_fps: float
    answered_fps: float
    statuses: dict[int, int]
    shed_p50_ms: float
    worst_ms: float
    p95_ms: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures both loads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="length of the overload (default %(default)s)")
    options = parser.parse_args(arguments)
    for name, load in LOADS.items():
        settings = {key: value for key, value in load.items() if key != "rate"}
        with instance(deadline_ms=DEADLINE_MS, **settings) as url, tempfile.TemporaryDirectory() as folder:
            peak = _peak(url, float(str(load["rate"])), Path(folder))
            overload = replay(url, 2 * peak, options.seconds, Path(folder) / "overload")
        _print(name, peak, overload)


def _peak(url: str, guess_fps: float, folder: Path) -> float:
    """The most it answers, over loads around and above what it should hold."""
    tries = (0.9, 1.2, 1.6)
    return max(replay(url, guess_fps * part, PEAK_SECONDS, folder / str(part)).answered_fps for part in tries)


def replay(url: str, rate_fps: float, seconds: int, folder: Path) -> Outcome:
    """Replays the sample video in open loop at about `rate_fps` frames/s and reads the raw samples."""
    cameras = max(1, round(rate_fps / FPS))
    command = [sys.executable, "-m", "loadtest", "replay", "--url", url, "--out", str(folder)]
    command += ["--cameras", str(cameras), "--fps", str(FPS), "--seconds", str(seconds), "--in-flight", "64"]
    # Sheds make the replay's own verdict a failure; here they are the point.
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    samples = sample_files.read(folder)
    rows = samples[samples["status"] != 0]
    took_ms = (rows["done_s"] - rows["sent_s"]) * 1000
    taken = list(zip(rows["status"].tolist(), took_ms.tolist(), rows["done_s"].tolist(), strict=True))
    return _outcome(taken, cameras * FPS, seconds)


def _outcome(taken: list[tuple[int, float, float]], offered_fps: float, seconds: int) -> Outcome:
    answered = sorted(ms for status, ms, _ in taken if status == HTTPStatus.OK)
    shed = sorted(ms for status, ms, _ in taken if status == HTTPStatus.SERVICE_UNAVAILABLE)
    # The first second fills the queue.
    in_time = sum(1 for status, _, done in taken if status == HTTPStatus.OK and 1 <= done <= seconds)
    statuses = {status: sum(1 for found, *_ in taken if found == status) for status, *_ in taken}
    return Outcome(
        offered_fps=offered_fps,
        answered_fps=in_time / (seconds - 1),
        statuses=dict(sorted(statuses.items())),
        shed_p50_ms=shed[len(shed) // 2] if shed else float("nan"),
        worst_ms=answered[-1] if answered else float("nan"),
        p95_ms=answered[int(len(answered) * 0.95)] if answered else float("nan"),
    )


def _print(name: str, peak: float, found: Outcome) -> None:
    print(f"{name}: overload at {found.offered_fps:.0f} frames/s, twice the peak of {peak:.1f}")
    print(f"  answers by status            {found.statuses}")
    print(f"  throughput / peak            {found.answered_fps / peak:.3f}   (at least 0.95)")
    print(f"  accepted: p95, worst         {found.p95_ms:.0f}, {found.worst_ms:.0f} ms   (deadline {DEADLINE_MS})")
    print(f"  refused with 503: median     {found.shed_p50_ms:.1f} ms   (at most 100)", flush=True)
