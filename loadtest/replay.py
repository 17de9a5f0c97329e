"""A run as a runbook: check, references, Locust, end. The only file that starts Locust."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from framefleet.ports import reserved_ports
from loadtest import prepare, reference, run_folder
from loadtest.errors import RunError
from loadtest.options import ReplayOptions, to_arguments
from loadtest.progress import Progress
from loadtest.sample_files import VerdictTail
from loadtest.target import Target

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
LOOPBACK = "127.0.0.1"
POLL_S = 0.5
# Locust's own start and end, on a slow machine.
SPARE_S = 180.0
WORKERS_S = 60
STOP_S = 10.0


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
    work = prepare.load(job.options)
    run_folder.clear(job.folder)
    get_references(job, work, progress)
    with locust(job) as process:
        watch(process, job, progress, clock)
    check_end(process, job.folder)


def get_references(job: Replay, work: prepare.Work, progress: Progress) -> None:
    """Puts the reference answers into the run folder: those given, or new ones from the idle service."""
    if job.references:
        answers = prepare.load_references(job.references, job.options, work)
    else:
        with Target(job.url, job.options.wait_s) as target:
            answers = prepare.take_references(job.options, work, target, progress)
    reference.save(answers, job.folder / run_folder.REFERENCES)


@contextmanager
def locust(job: Replay) -> Iterator[subprocess.Popen[bytes]]:
    """Runs Locust on our locustfile, quiet and without its web page; it is gone when the block is left."""
    with reserved_ports() as port, (job.folder / run_folder.LOCUST_OUTPUT).open("wb") as output:
        process = subprocess.Popen(
            locust_command(job, port), stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment()
        )
        try:
            yield process
        finally:
            stop(process)


def locust_command(job: Replay, port: int) -> list[str]:
    """The command line: plain Locust, so it can be copied and varied; its own workers find it on `port`."""
    statistics = ("--csv", str(job.folder / run_folder.LOCUST_STATS)) if job.statistics else ()
    return [
        *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"),
        *("--host", job.url, "--spawn-rate", "100"),
        # Samples tell what was wrong; a non-zero code then means that the run itself broke.
        *("--exit-code-on-error", "0"),
        *("--logfile", str(job.folder / run_folder.LOCUST_LOG)),
        *statistics,
        *_crew(job, port),
        *("--run-dir", str(job.folder)),
        *("--references", str(job.folder / run_folder.REFERENCES)),
        *to_arguments(job.options),
    ]


def _crew(job: Replay, own_port: int) -> list[str]:
    """Locust's options about its workers; none for a process on its own."""
    if job.bind:
        host, _, port = job.bind.rpartition(":")
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


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends Locust, politely at first; one that has ended is left alone."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def environment() -> dict[str, str]:
    """The environment, with this package importable and without settings meant for another Locust."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    paths = [str(LOCUSTFILE.parent.parent), *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
    errors = [line for line in lines if "error" in line.lower()]
    rest = [line for line in lines if line.strip()]
    return (errors or rest or [""])[-1]
