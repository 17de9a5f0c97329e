"""A run as a runbook: claims, references, Locust, end."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from framefleet.machine.ports import reserved_ports
from loadtest.errors import RunError
from loadtest.generate import prepare
from loadtest.generate.locust_process import locust_process
from loadtest.generate.master_address import LOOPBACK, meeting_place
from loadtest.measure import run_folder
from loadtest.measure.sample_files import VerdictTail
from loadtest.options import ReplayOptions, to_arguments
from loadtest.report.progress import Progress
from loadtest.target import reference
from loadtest.target.claim import folder_claim, target_claim
from loadtest.target.target import Target

POLL_S = 0.5
# Locust's own start and end, on a slow machine.
SPARE_S = 180.0
WORKERS_S = 60


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay to be made.

    Attributes:
        url: the service, `http://host:port`.
        options: what is replayed.
        folder: run folder; what an earlier run left there is replaced.
        references: file of reference answers taken a moment ago; none takes them before the run.
        processes: that make the load.
        bind: `address:port` on which to wait for so many workers from other machines; empty starts them here.
        statistics: whether Locust writes its CSV files, which takes it a second or two at its end.
    """

    url: str
    options: ReplayOptions
    folder: Path
    references: Path | None = None
    processes: int = 1
    bind: str = ""
    statistics: bool = True


def replay(job: Replay, progress: Progress, clock: Callable[[], float] = time.monotonic) -> None:
    """Makes the replay; afterwards the folder holds all that a report is made from.

    Args:
        job: what to do.
        progress: shows how far it is.
        clock: seconds.

    Raises:
        LoadTestError: it could not be made; wrong answers are no error here but samples.
    """
    with folder_claim(job.folder), target_claim(job.url):
        make_ready(job, progress)
        with (
            reserved_ports() as port,
            (job.folder / run_folder.LOCUST_OUTPUT).open("wb") as output,
            locust_process(locust_arguments(job, port), output) as process,
        ):
            watch(process, job, progress, clock)
        check_end(process, job.folder)


def make_ready(job: Replay, progress: Progress) -> None:
    """Empties the run folder and puts the reference answers there: those given, or new ones from the idle service."""
    work = prepare.load(job.options)
    progress.note(work.frames.damage)
    run_folder.clear(job.folder)
    if job.references:
        answers = prepare.load_references(job.references, job.options, work)
    else:
        with Target(job.url, job.options.wait_s) as target:
            answers = prepare.take_references(job.options, work, target, progress)
    reference.save(answers, job.folder / run_folder.REFERENCES)


def locust_arguments(job: Replay, port: int) -> list[str]:
    """Locust's command line without the locustfile: quiet but for its log; its own workers find it on `port`."""
    folder = job.folder.absolute()
    statistics = ("--csv", str(folder / run_folder.LOCUST_STATS)) if job.statistics else ()
    return [
        *("--headless", "--only-summary"),
        *("--host", job.url, "--spawn-rate", "100"),
        # Samples tell what was wrong; a non-zero code then means that the run itself broke.
        *("--exit-code-on-error", "0"),
        *("--logfile", str(folder / run_folder.LOCUST_LOG)),
        *statistics,
        *_worker_options(job, port),
        *("--run-dir", str(folder)),
        *("--references", str(folder / run_folder.REFERENCES)),
        *to_arguments(job.options),
    ]


def _worker_options(job: Replay, own_port: int) -> list[str]:
    """Locust's options about its workers; none for a process on its own."""
    if job.bind:
        host, port = meeting_place(job.bind, "--bind")
        workers = ["--master", "--expect-workers", str(job.processes), "--expect-workers-max-wait", str(WORKERS_S)]
        return [*workers, "--master-bind-host", host, "--master-bind-port", port]
    if job.processes == 1:
        return []
    # Not Locust's usual port, so that runs go on side by side.
    port = str(own_port)
    bound = ["--master-bind-host", LOOPBACK, "--master-bind-port", port]
    return ["--processes", str(job.processes), *bound, "--master-host", LOOPBACK, "--master-port", port]


def watch(process: subprocess.Popen[bytes], job: Replay, progress: Progress, clock: Callable[[], float]) -> None:
    """Shows live counts until Locust ends.

    Raises:
        RunError: it takes far longer than the run can last.
    """
    tail = VerdictTail(job.folder)
    factor_s = sum(part.factor * part.seconds for part in job.options.parts) or job.options.seconds
    arrivals = round(job.options.asked_fps * factor_s)
    deadline = clock() + job.options.length_s + 3 * job.options.wait_s + SPARE_S
    with progress.counts("replay", arrivals, "frame") as show:
        while True:
            running = _wait(process)
            show(tail.update(), tail.counts)
            if not running:
                return
            if clock() > deadline:
                raise RunError(f"{job.folder}: Locust does not end; see {run_folder.LOCUST_LOG} there")


def check_end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Makes sure that Locust went through.

    Raises:
        RunError: it did not; with the last line it logged.
    """
    if process.returncode != 0 or not (folder / run_folder.END).exists():
        last = _last_line(folder / run_folder.LOCUST_LOG) or _last_line(folder / run_folder.LOCUST_OUTPUT)
        raise RunError(f"{folder}: Locust ended with code {process.returncode}: {last or 'it left no log'}")


def _wait(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(POLL_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
    errors = [line for line in lines if "error" in line.lower()]
    rest = [line for line in lines if line.strip()]
    return (errors or rest or [""])[-1]
