"""Makes one step against a target, unless its folder already holds it: [StepOptions] -> samples on disk -> [Step]."""

from dataclasses import dataclass
from pathlib import Path

from loadtest.errors import RunError
from loadtest.generate import prepare
from loadtest.generate.replay import Replay, replay
from loadtest.measure import run_folder, sample_files, step
from loadtest.measure.run_folder import RunRecord
from loadtest.measure.step import Step
from loadtest.options import MOST, ReplayOptions, checked
from loadtest.report.progress import Progress
from loadtest.target import reference
from loadtest.target.target import Target

# Beyond so many SLOs' worth of unanswered frames each is late anyway. But there must be enough for a fleet's queues to
# fill, so that it is the fleet that refuses frames and not the generator.
UNANSWERED_SLOS = 20
LEAST_UNANSWERED = 1024


@dataclass(frozen=True, slots=True)
class StepOptions:
    """A step to be made.

    Attributes:
        name: of the step, a word fit for a file name.
        options: what is sent, how fast, and what counts as right and in time (asked rate = cameras x fps).
        folder: of the step alone; holds the raw samples afterwards. What another run left there is replaced.
        references: file of reference answers taken a moment ago (see `take_references`); none takes them anew.
        processes: that make the load.
        bind: `address:port` on which to wait for so many workers from other machines; empty starts them here.
    """

    name: str
    options: ReplayOptions
    folder: Path
    references: Path | None = None
    processes: int = 1
    bind: str = ""


def run_step(url: str, wanted: StepOptions, progress: Progress | None = None) -> Step:
    """Makes the step, or reads it back if its folder holds a complete run with the same options.

    Raises:
        LoadTestError: it could not be made. Wrong, shed or failed answers are no error but figures of the step.
    """
    if not _is_there(url, wanted):
        job = Replay(
            url=url,
            options=checked(wanted.options),
            folder=wanted.folder,
            references=wanted.references,
            processes=wanted.processes,
            bind=wanted.bind,
            statistics=False,
        )
        replay(job, progress or Progress())
    return read_step(wanted.folder, wanted.name)


def unanswered(fps: float, slo_ms: float) -> int:
    """How many frames may wait for their answers at a rate (frames/s)."""
    return min(MOST["in_flight"], max(LEAST_UNANSWERED, round(UNANSWERED_SLOS * fps * slo_ms / 1e3)))


def take_references(url: str, options: ReplayOptions, path: Path) -> Path:
    """Asks the idle service for each frame once and keeps the answers; returns the path, for `StepOptions.references`.

    Raises:
        LoadTestError: the video or the service is not usable.
    """
    work, progress = prepare.load(checked(options)), Progress()
    progress.note(work.frames.damage)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Target(url, options.wait_s) as target:
        reference.save(prepare.take_references(options, work, target, progress), path)
    return path


def read_step(folder: Path, name: str) -> Step:
    """Works a step out from its folder.

    Raises:
        RunError: it is no run folder, or a file in it is damaged.
    """
    record = run_folder.read(folder / run_folder.RUN, RunRecord)
    return step.make(name, str(folder), record, run_folder.read_end(folder), sample_files.read(folder))


def _is_there(url: str, wanted: StepOptions) -> bool:
    try:
        record = run_folder.read(wanted.folder / run_folder.RUN, RunRecord)
    except RunError:
        return False
    end = run_folder.read_end(wanted.folder)
    return end is not None and end.complete and (record.url, record.options) == (url, wanted.options)
