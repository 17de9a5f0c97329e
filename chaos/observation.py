"""What became visible of one fault: to clients, in the logs, in memory and descriptors.

Flow: [Mark] before, then [Sample...] + logs since the mark -> [Observation] -> report.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.load import Sample
from chaos.machine import Footprint, footprint
from framefleet.wire.percentiles import percentiles

SLOW_MS = 1000.0
# Who says it, by what the logs then hold.
NOTICES: Mapping[str, str] = {
    "watchdog": r'"event": "engine_hang"',
    "self-test": r"self-test: the engine",
    "batcher": r'"event": "engine_fault"',
    "gunicorn master": r"worker \d+ of \S+ died",
    "memory ceiling": r'"event": "memory_ceiling"',
    "quarantine": r'"event": "pictures_blamed"',
    "instance before it listens": r"cannot start: ",
    "prober": r"takes connections but answers nothing",
    "reviver": r"FATAL|died \d+ times|started again after",
    "supervisord": r"(exited|gave up|stopped): \S+",
    "nginx (asked another instance)": r'"upstream_addr":"[^"]+, [^"]+"',
    "nginx master": r"worker process \d+ exited on signal|signal \d+ \(SIGCHLD\)",
    "balancer's start": r"of an nginx that was killed will finish",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """Where things were before: the `sizes` of the logs in bytes, and the `footprint`."""

    sizes: Mapping[Path, int]
    footprint: Footprint


@dataclass(frozen=True, slots=True)
class Observation:
    """One row of the report.

    Attributes:
        fault: its name.
        sent, failed, wrong, refused, slow: good requests; slow ones took over 1 s and were right.
        worst_ms: the longest right answer.
        p99_ms, calm_p99_ms: of right answers from the fault on, and in the calm before it.
        details: what failed, how often.
        noticed: who, from the logs.
        strong_s: s from the fault until every program answered again, less what the fault itself lasted on purpose.
        before, after: footprints.
        allowed: requests that may be lost.
        p99_times: `p99_ms` against `calm_p99_ms` at most; 0 for no limit.
        p99_limit_ms: `p99_ms` at most; 0 for no limit.
        broken: what else did not hold; empty if all did.
    """

    fault: str
    sent: int
    failed: int
    wrong: int
    refused: int
    slow: int
    worst_ms: float
    p99_ms: float
    calm_p99_ms: float
    details: Mapping[str, int]
    noticed: tuple[str, ...]
    strong_s: float
    before: Footprint
    after: Footprint
    allowed: int
    p99_times: float = 0.0
    p99_limit_ms: float = 0.0
    broken: str = ""

    @property
    def quick(self) -> bool:
        """Whether good answers were as quick as they had to be."""
        limits = (self.p99_times * self.calm_p99_ms, self.p99_limit_ms)
        return all(self.p99_ms <= limit for limit in limits if limit)

    @property
    def lost(self) -> int:
        """Good requests without a right answer."""
        return self.failed + self.wrong + self.refused

    @property
    def met(self) -> bool:
        """Whether all that was expected held."""
        return self.lost <= self.allowed and self.wrong == 0 and self.quick and not self.broken


def mark(folder: Path) -> Mark:
    """Notes where things are.

    Args:
        folder: the fleet's.
    """
    logs = (folder / "log").glob("*.log")
    return Mark({log: log.stat().st_size for log in logs}, footprint(folder))


def observe(
    fault: str,
    samples: Sequence[Sample],
    calm: Sequence[Sample],
    before: Mark,
    folder: Path,
    *,
    strong_s: float,
    allowed: int,
    p99_times: float = 0.0,
    p99_limit_ms: float = 0.0,
    broken: str = "",
) -> Observation:
    """Puts one row together.

    Args:
        fault: its name.
        samples: requests from just before the fault until well after it.
        calm: requests before that.
        before: taken in the calm.
        folder: the fleet's.
        strong_s: see `Observation`.
        allowed: requests that may be lost.
        p99_times: see `Observation`.
        p99_limit_ms: likewise.
        broken: what else did not hold.
    """
    outcomes = Counter(sample.outcome for sample in samples)
    right = [sample.ms for sample in samples if sample.outcome == "right"]
    return Observation(
        fault=fault,
        sent=len(samples),
        failed=outcomes["failed"],
        wrong=outcomes["wrong"],
        refused=outcomes["refused"],
        slow=sum(ms > SLOW_MS for ms in right),
        worst_ms=max(right, default=0.0),
        p99_ms=p99(right),
        calm_p99_ms=p99([sample.ms for sample in calm if sample.outcome == "right"]),
        details=Counter(sample.detail for sample in samples if sample.outcome != "right"),
        noticed=who_noticed(before, folder),
        strong_s=strong_s,
        before=before.footprint,
        after=footprint(folder),
        allowed=allowed,
        p99_times=p99_times,
        p99_limit_ms=p99_limit_ms,
        broken=broken,
    )


def p99(values: Sequence[float]) -> float:
    """What 99 % of the values did not exceed; 0 of nothing."""
    return percentiles(values, 99)[0] if values else 0.0


def counted(counts: Mapping[str, int]) -> str:
    """How often what was seen, in words, the most frequent first; empty if nothing was."""
    return ", ".join(
        f"{count} x {what}" for what, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def who_noticed(before: Mark, folder: Path) -> tuple[str, ...]:
    """Reads from the logs who noticed anything since the mark."""
    text = "\n".join(_since(log, before.sizes.get(log, 0)) for log in sorted((folder / "log").glob("*.log")))
    return tuple(who for who, pattern in NOTICES.items() if re.search(pattern, text))


def _since(log: Path, size: int) -> str:
    # One that has become shorter was rotated.
    start = size if log.stat().st_size >= size else 0
    with log.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")
