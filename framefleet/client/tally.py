"""Counts what the client's run amounts to, and sums it up for a person."""

import math
import statistics
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from framefleet.client.sender import Answer

_KEPT_TIMINGS = 100_000  # a camera may run for weeks


@dataclass(slots=True)
class Tally:
    """What a run amounted to so far; timings are those of the latest frames.

    Attributes:
        frames: frames answered.
        retries: attempts that failed and were repeated.
        labels: detections by class name.
        instances: answers by the instance that gave them.
        latencies_ms: from sending to the answer.
        stages_ms: the server's timings by stage.
    """

    frames: int = 0
    retries: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    instances: Counter[str] = field(default_factory=Counter)
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT_TIMINGS))
    stages_ms: dict[str, deque[float]] = field(default_factory=dict)

    def add(self, answer: Answer) -> None:
        """Counts one answer."""
        self.frames += 1
        self.retries += answer.retries
        self.labels.update(detection.label for detection in answer.detections)
        self.instances.update([answer.instance] if answer.instance else [])
        self.latencies_ms.append(answer.latency_ms)
        for stage, duration_ms in answer.stages_ms.items():
            self.stages_ms.setdefault(stage, deque(maxlen=_KEPT_TIMINGS)).append(duration_ms)


def summary(tally: Tally, elapsed_s: float) -> str:
    """The whole run in a few aligned lines."""
    repeated = f", {tally.retries} sent again" if tally.retries else ""
    rows = [("frames", f"{tally.frames} in {elapsed_s:.1f} s{repeated}")]
    if tally.frames:
        ordered = sorted(tally.latencies_ms)
        rows += [
            ("rate", f"{tally.frames / elapsed_s:.1f} frames/s"),
            ("latency", f"p50 {percentile(ordered, 50):.1f} ms, p95 {percentile(ordered, 95):.1f} ms"),
        ]
        found = ", ".join(f"{label} {count}" for label, count in tally.labels.most_common(10))
        rows.append(("detections", f"{tally.labels.total()}" + (f": {found}" if found else "")))
    if tally.stages_ms:
        medians = ", ".join(f"{stage} {statistics.median(values):.1f}" for stage, values in tally.stages_ms.items())
        rows.append(("server", f"{medians} ms (medians)"))
    if tally.instances:
        rows.append(("instances", ", ".join(f"{name} {count}" for name, count in sorted(tally.instances.items()))))
    return "\n".join(f"{name:<11} {text}" for name, text in rows)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of the ordered values that at least `percent` % of them do not exceed (nearest rank)."""
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]
