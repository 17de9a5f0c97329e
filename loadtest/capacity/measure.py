"""Measures the steps of a sweep against a service: [Ask] -> a run of Locust -> [Row].

`read_cpu_s`, `cpu_used_s`: how much CPU time the instances behind a URL have used so far, from their `/metrics`.
"""

import io
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadtest.capacity import curve, fits
from loadtest.capacity.fits import BatchFit
from loadtest.capacity.reduction import reduce
from loadtest.capacity.row import Row
from loadtest.capacity.sweep import Ask
from loadtest.errors import RunError, TargetError
from loadtest.frames.pattern import Phase
from loadtest.generate import steps
from loadtest.generate.steps import StepOptions
from loadtest.measure import run_folder, sample_files
from loadtest.measure.run_folder import RunRecord
from loadtest.measure.samples import SampleTable
from loadtest.measure.step import Step
from loadtest.options import ReplayOptions
from loadtest.report.progress import Progress
from loadtest.target import proof, reference
from loadtest.target.proof import Proof
from loadtest.target.target import Reply, Target
from loadtest.target.verdict import Verdict

ROUTE = "/metrics"
OK = 200
# A balancer goes round idle instances: so many answers without a new name mean that there is none.
KNOWN_IN_A_ROW = 8
MOST_ASKED = 2000
_CPU = re.compile(rb"^process_cpu_seconds_total ([0-9.eE+-]+)$", re.MULTILINE)
WARMUP_S = 1.0


@dataclass(slots=True)
class SweepBench:
    """A service and how its steps are made.

    Attributes:
        url: the service.
        base: what is sent and what counts as right; rate, length and schedule are the steps' own.
        folder: of all steps.
        processes: that make the load.
        bind: `address:port` on which to wait for so many workers from other machines; empty starts them here.
        seconds: length of a step, without its warm-up.
        say: tells a person about a step that was made.
        record: how the last step was set up.
        response_bytes: mean size of its right answers.
        proof: how much the reference answers give to compare.
    """

    url: str
    base: ReplayOptions
    folder: Path
    processes: int
    bind: str
    seconds: float
    say: Callable[[Row], None]
    record: RunRecord | None = None
    response_bytes: float = 0.0
    proof: Proof = field(default_factory=lambda: Proof(0, 0))
    _sizes: list[NDArray[np.int64]] = field(default_factory=list)
    _took_ms: list[NDArray[np.float64]] = field(default_factory=list)
    _cpu_s: list[float] = field(default_factory=list)
    _cpu_frames: int = 0

    @property
    def references(self) -> Path:
        """File of the reference answers."""
        return self.folder / run_folder.REFERENCES

    def prepare(self, resume: bool) -> None:
        """Takes the reference answers; without `resume`, earlier steps are forgotten.

        Raises:
            LoadTestError: the video or the service is not usable.
        """
        if not resume:
            shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.folder}: {error.strerror}; give another folder with --out") from None
        steps.take_references(self.url, self.base, self.references)
        self.proof = proof.of(reference.load(self.references).detections)

    def measure(self, ask: Ask) -> Row:
        """Makes a step.

        Raises:
            LoadTestError: it could not be made.
        """
        name = f"{ask.seed:03d}-{ask.kind}-{ask.fps:.1f}"
        options = self._options(ask)
        wanted = StepOptions(name, options, self.folder / name, self.references, self.processes, self.bind)
        step, spent_s = self._made(wanted)
        self.record = run_folder.read(wanted.folder / run_folder.RUN, RunRecord)
        samples = sample_files.read(wanted.folder)
        if ask.kind in curve.CALM:
            self._learn(samples, spent_s)
        row = reduce(ask.kind, ask.seed, step, samples, options.warmup_s)
        self.say(row)
        return row

    @property
    def cpu_ms(self) -> float | None:
        """CPU time of all instances per right answer; none if they do not tell."""
        return sum(self._cpu_s) * 1e3 / self._cpu_frames if self._cpu_frames else None

    def batch_fit(self) -> BatchFit | None:
        """The cost of a batch, over all calm steps."""
        if not self._sizes:
            return None
        return fits.fit_batches(np.concatenate(self._sizes), np.concatenate(self._took_ms))

    def _made(self, wanted: StepOptions) -> tuple[Step, float | None]:
        """The step, and the CPU seconds it took the instances; none if they do not tell or it was made before."""
        end = wanted.folder / run_folder.END
        earlier = end.stat().st_mtime_ns if end.exists() else None
        with Target(self.url, self.base.wait_s) as target:
            before = read_cpu_s(target.get)
            # The steps have their own lines; a bar for each would hide them.
            step = steps.run_step(self.url, wanted, Progress(io.StringIO()))
            spent_s = cpu_used_s(before, read_cpu_s(target.get))
        return step, spent_s if end.stat().st_mtime_ns != earlier else None

    def _learn(self, samples: SampleTable, spent_s: float | None) -> None:
        sizes, took_ms = fits.batch_times(samples)
        self._sizes.append(sizes)
        self._took_ms.append(took_ms)
        right = samples[samples["verdict"] == Verdict.SAME.value]
        if not len(right):
            return
        self.response_bytes = float(np.mean(right["response_bytes"]))
        if spent_s is not None:
            self._cpu_s.append(spent_s)
            self._cpu_frames += len(right)

    def _options(self, ask: Ask) -> ReplayOptions:
        return replace(
            self.base,
            arrivals="poisson",
            cameras=1,
            fps=ask.fps,
            seconds=self.seconds + WARMUP_S,
            warmup_s=0.0 if ask.phases else WARMUP_S,
            phases=_text(ask.phases),
            seed=ask.seed,
            in_flight=steps.unanswered(ask.fps, self.base.slo_ms),
        )


def _text(phases: tuple[Phase, ...]) -> str:
    return ",".join(f"{phase.factor:g}x{phase.seconds:g}" for phase in phases)


def read_cpu_s(get: Callable[[str], Reply]) -> dict[str, float]:
    """Asks until every instance has answered.

    Args:
        get: reads a route.

    Returns:
        CPU seconds by instance; empty if the service has no such route or does not tell.
    """
    found: dict[str, float] = {}
    known = 0
    for _ in range(MOST_ASKED):
        seconds, name = _ask(get)
        if seconds is None:
            return {}
        known = known + 1 if name in found else 0
        found[name] = seconds
        if known == KNOWN_IN_A_ROW:
            break
    return found


def cpu_used_s(before: dict[str, float], after: dict[str, float]) -> float | None:
    """CPU seconds between two readings; none if an instance came, went or started again meanwhile."""
    if not before or before.keys() != after.keys():
        return None
    spent = [after[name] - before[name] for name in before]
    return None if min(spent) < 0 else sum(spent)


def _ask(get: Callable[[str], Reply]) -> tuple[float | None, str]:
    try:
        reply = get(ROUTE)
    except TargetError:
        return None, ""
    match = _CPU.search(reply.body)
    return (float(match[1]) if reply.status == OK and match else None), reply.instance
