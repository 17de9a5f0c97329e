"""A run during which instances were killed, made elsewhere, as a panel of the page: folder -> [Timeline]."""

from pathlib import Path

from loadtest.capacity.records import Timeline
from loadtest.capacity.reduction import per_second
from loadtest.generate import stepping
from loadtest.measure import run_folder, sample_files
from loadtest.measure.run_folder import RunRecord


def timeline(folder: Path) -> Timeline:
    """What became of the frames, second by second.

    Raises:
        RunError: it is no folder of a step.
    """
    step = stepping.read_step(folder, folder.name)
    options = run_folder.read(folder / run_folder.RUN, RunRecord).options
    offered, in_time = per_second(sample_files.read(folder), step.slo_ms, options.warmup_s, step.seconds)
    counts = step.counts
    text = (
        f"Of {counts.offered} frames at {step.asked_fps:.1f} frames/s {counts.ok} were answered as without load, "
        f"{counts.late} of them late; {counts.shed} were refused with 503, {counts.failed + counts.missing} failed"
    )
    return Timeline("Failures: instances are killed", text, offered, in_time, ())
