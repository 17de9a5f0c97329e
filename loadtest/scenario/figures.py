"""The figures that scenarios are judged by: [Step...], [SampleTable] -> name and number. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.measure.samples import SampleTable
from loadtest.measure.step import Step
from loadtest.target.verdict import Verdict

# The queue fills in the first moments of an overload: those are not its steady state.
SETTLE_S = 1.0
# A service that answers a greater part than this of what is offered is not overloaded.
ALL_BUT = 0.95
# All is well when so many of the frames due in a second are; that second is looked for in steps.
WELL = 0.99
WELL_FOR_S = 1.0
LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Relief:
    """What an overload did, and how it ended.

    Attributes:
        offered_fps: frames that fell due per second in the overload.
        goodput_fps: right answers within the SLO per second, of the frames due in the overload.
        throughput_fps: right answers per second, early or late, of those there in the overload.
        recovery_s: from the end of the overload to the first second in which 99 % of the frames due are answered right
            and within the SLO; NaN if that never came.
    """

    offered_fps: float
    goodput_fps: float
    throughput_fps: float
    recovery_s: float

    @property
    def overloaded(self) -> bool:
        """Whether it was one: who answers nearly all that is offered has not shown what happens to more."""
        return self.throughput_fps < ALL_BUT * self.offered_fps


def of_step(step: Step) -> dict[str, float]:
    """Shares are of all frames that fell due, 0 to 1; times are from the scheduled moment."""
    counts, offered = step.counts, max(1, step.counts.offered)
    unanswered = counts.failed + counts.missing
    return {
        "ok_fps": step.ok_fps,
        "goodput_fps": step.goodput_fps,
        "p50_ms": step.latency.p50,
        "p95_ms": step.latency.p95,
        "p99_ms": step.latency.p99,
        "late_share": counts.late / offered,
        "dropped_share": counts.dropped / offered,
        "late_or_never": (counts.late + counts.dropped + counts.shed + counts.rejected) / offered,
        "shed_share": counts.shed / offered,
        "rejected": float(counts.rejected),
        "changed": float(counts.wrong),
        "failed": float(unanswered),
    }


STEP_FIGURES = (
    *("ok_fps", "goodput_fps", "p50_ms", "p95_ms", "p99_ms", "late_share", "dropped_share", "late_or_never"),
    *("shed_share", "rejected", "changed", "failed"),
)


def faults(steps: Sequence[Step]) -> dict[str, float]:
    """Answers that differ from those without load, and failures, over several steps."""
    return {
        "changed": float(sum(step.counts.wrong for step in steps)),
        "failed": float(sum(step.counts.failed + step.counts.missing for step in steps)),
    }


def meets_slo(step: Step, quantile: float) -> bool:
    """Whether so great a share of all frames was answered as without load and in time, none otherwise, none failed."""
    counts = step.counts
    if not counts.offered or counts.wrong or counts.failed or counts.missing:
        return False
    return (counts.ok - counts.late) / counts.offered >= quantile


def relief(samples: SampleTable, *, over_s: float, end_s: float, slo_ms: float) -> Relief:
    """Looks at a run whose first part was an overload.

    Args:
        samples: structured array [samples], in scheduled order.
        over_s: moment at which the overload ended, in seconds from the start of the run.
        end_s: planned end of the run.
        slo_ms: the latency that has to be met.
    """
    right = samples["verdict"] == Verdict.SAME.value
    good = right & ((samples["done_s"] - samples["scheduled_s"]) * 1e3 <= slo_ms)
    due, done = samples["scheduled_s"], samples["done_s"]
    within = due < over_s
    steady_s = over_s - SETTLE_S
    steady = within & (due >= SETTLE_S)
    answered = right & (done >= SETTLE_S) & (done < over_s)
    return Relief(
        offered_fps=float(np.sum(steady)) / steady_s,
        goodput_fps=float(np.sum(good & steady)) / steady_s,
        throughput_fps=float(np.sum(answered)) / steady_s,
        recovery_s=_recovery_s(due, good, over_s, end_s),
    )


def _recovery_s(due_s: NDArray[np.float64], good: NDArray[np.bool_], over_s: float, end_s: float) -> float:
    """See `Relief`; `due_s` rises."""
    starts = np.arange(over_s, end_s - WELL_FOR_S, LOOK_EVERY_S)
    goods = np.concatenate(([0], np.cumsum(good)))
    first, last = np.searchsorted(due_s, starts), np.searchsorted(due_s, starts + WELL_FOR_S)
    number = last - first
    well = (number > 0) & (goods[last] - goods[first] >= WELL * number)
    return float(starts[np.argmax(well)] - over_s) if np.any(well) else math.nan
