"""What a reader should keep in mind of a run's figures: [Summary] + [References] -> notes, a line each. Pure."""

from collections.abc import Collection, Iterable

from loadtest.measure.summary import UNNAMED, Summary
from loadtest.target import proof
from loadtest.target.reference import References

# With fewer answers the percentile is the slowest of them.
LEAST_FOR_P95, LEAST_FOR_P99 = 20, 100


def of(summary: Summary, references: References, frames: Collection[int]) -> tuple[str, ...]:
    """All of them, the weightiest first.

    Args:
        summary: of the run.
        references: the idle service's answers.
        frames: numbers of the frames that fell due.
    """
    sent = [references.detections[frame] for frame in sorted(frames) if frame < len(references.detections)]
    warning = proof.of(sent).warning if sent else ""
    return (*([warning] if warning else []), *_silent(summary, references), *_few(summary))


def _silent(summary: Summary, references: References) -> Iterable[str]:
    heard = {one.name for one in summary.instances}
    away = sorted({name or UNNAMED for name in references.instances} - heard)
    if away and heard:
        yield f"{', '.join(away)} answered before the load, and gave no answer under it that was the same"


def _few(summary: Summary) -> Iterable[str]:
    answers, others = summary.right, summary.offered - summary.right
    if answers and others:
        yield f"latency and service time are those of {answers} answers; the other {others} frames are not in them"
    if 0 < answers < LEAST_FOR_P99:
        which = "p95 and p99 are" if answers < LEAST_FOR_P95 else "p99 is"
        yield f"of {answers} answers {which} the slowest one; {LEAST_FOR_P99} tell more"
