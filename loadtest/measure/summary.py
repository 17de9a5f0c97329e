"""What the samples of a run say: [SampleTable] -> [Summary] -> verdict, report. Pure."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from framefleet.wire.percentiles import percentiles
from framefleet.wire.timing import STAGES
from loadtest.measure.samples import SampleTable
from loadtest.target.verdict import Verdict

# Beyond these the generator measured itself, not the service. It may be late by the smaller of the two.
LATENESS_P99_LIMIT_MS = 5.0
LATENESS_P99_LIMIT_SLO = 0.02
GENERATOR_CPU_LIMIT = 0.85
# Shares are called even when none is further than this from its even part.
EVEN_WITHIN = 0.10
# An instance that does not say its name.
UNNAMED = "(unnamed)"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a summary needs to know besides the samples.

    Attributes:
        arrivals: frames that fell due after the warm-up; 0 for a closed loop, whose samples are all there is.
        seconds: planned length of the run, the warm-up included.
        slo_ms: a right answer later than this after its scheduled moment is late.
        generator_cpu: share of one core that the load generator used, 0 to 1; NaN if unknown.
        warmup_s: what fell due before this moment is not counted.
        drops: whether cameras drop frames on purpose, because a newer one took their place.
        starved: frames that were not sent since the generator had no more connections to give.
    """

    arrivals: int
    seconds: float
    slo_ms: float
    generator_cpu: float
    warmup_s: float = 0.0
    drops: bool = False
    starved: int = 0


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Exact order statistics in milliseconds; each is a value that was observed, NaN without any.

    Attributes:
        p50: half were no slower.
        p95: 95 % were no slower.
        p99: 99 % were no slower.
        worst: none was slower.
    """

    p50: float
    p95: float
    p99: float
    worst: float


@dataclass(frozen=True, slots=True)
class InstanceShare:
    """What one instance did.

    Attributes:
        name: from `X-Instance`.
        right: its right answers.
        share: its part of all right answers, 0 to 1.
        service_p95_ms: 95 % of its right answers took no longer from the send.
        infer_ms: mean time in its engine, NaN if it does not say.
    """

    name: str
    right: int
    share: float
    service_p95_ms: float
    infer_ms: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The results of a run; all times in milliseconds, of right answers only unless it says otherwise.

    A right answer is the same as the frame's reference, given without load.

    Attributes:
        offered: frames that fell due.
        counts: samples by verdict (every verdict is present).
        missing: frames that fell due but left no sample.
        failures: what FAILED means here: samples by HTTP status, 0 for no answer.
        offered_fps: frames that fell due per second.
        achieved_fps: right answers per second, until the last answer.
        late: right answers later than the SLO after their scheduled moment.
        slo_ms: that limit.
        latency: from the scheduled moment to the whole answer.
        service: from the send to the whole answer.
        lateness: from the moment a frame should have been sent to the send, of all frames sent.
        stages: mean time per stage of the service, from `Server-Timing`; without those it never named.
        outside_ms: mean service time not covered by the stages: network, balancer, HTTP.
        instances: by name.
        imbalance: greatest relative distance of a share from its even part, 0 when all are even.
        generator_cpu: share of one core that the load generator used, NaN if unknown.
        doubts: why this is not a valid measurement; empty if it is one.
        notes: what to keep in mind of the figures besides.
    """

    offered: int
    counts: dict[str, int]
    missing: int
    failures: dict[int, int]
    offered_fps: float
    achieved_fps: float
    late: int
    slo_ms: float
    latency: Percentiles
    service: Percentiles
    lateness: Percentiles
    stages: dict[str, float]
    outside_ms: float
    instances: tuple[InstanceShare, ...]
    imbalance: float
    generator_cpu: float
    doubts: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def right(self) -> int:
        """Right answers."""
        return self.counts[Verdict.SAME.value]

    @property
    def late_share(self) -> float:
        """Late answers as a part of all frames that fell due, 0 to 1."""
        return self.late / self.offered if self.offered else 0.0

    @property
    def even(self) -> bool:
        """Whether the instances shared the load evenly."""
        # 55 of 100 is a hair more than 1.1 halves in floats.
        return self.imbalance <= EVEN_WITHIN + 1e-9

    @property
    def balance(self) -> str:
        """How the instances shared the load, in words."""
        if len(self.instances) < 2:  # noqa: PLR2004 - one shares with nobody
            return "one instance answered all" if self.instances else "no instance answered as without load"
        if self.even:
            return f"even: no share is further than {self.imbalance:.1%} from its even part"
        return f"uneven: a share is {self.imbalance:.1%} from its even part"


def summarise(samples: SampleTable, facts: Facts) -> Summary:
    """Works out all results from raw samples.

    Args:
        samples: structured array [samples] as `samples.read` gives it.
        facts: the run's settings.
    """
    samples = _those(samples, samples["scheduled_s"] >= facts.warmup_s)
    offered = facts.arrivals or len(samples)
    seconds = facts.seconds - facts.warmup_s
    right = _those(samples, samples["verdict"] == Verdict.SAME.value)
    counts = {verdict.value: int(np.sum(samples["verdict"] == verdict.value)) for verdict in Verdict}
    latency = (right["done_s"] - right["scheduled_s"]) * 1e3
    service = (right["done_s"] - right["sent_s"]) * 1e3
    sent = _those(samples, samples["verdict"] != Verdict.DROPPED.value)
    lateness = order_statistics((sent["sent_s"] - sent["scheduled_s"] - sent["held_s"]) * 1e3)
    stages = _stage_means(right)
    instances = _shares(right)
    return Summary(
        offered=offered,
        counts=counts,
        missing=max(0, offered - len(samples)),
        failures=_statuses(samples[samples["verdict"] == Verdict.FAILED.value]),
        offered_fps=offered / seconds,
        achieved_fps=len(right) / max(seconds, _last(sent["done_s"]) - facts.warmup_s),
        late=int(np.sum(late(right, facts.slo_ms))),
        slo_ms=facts.slo_ms,
        latency=order_statistics(latency),
        service=order_statistics(service),
        lateness=lateness,
        stages=stages,
        outside_ms=float(np.mean(service)) - sum(stages.values()) if len(right) else math.nan,
        instances=instances,
        imbalance=_imbalance(instances),
        generator_cpu=facts.generator_cpu,
        doubts=_doubts(lateness, facts, counts),
    )


def order_statistics(values: NDArray[np.floating]) -> Percentiles:
    """What half, 95 % and 99 % of the values did not exceed, and the largest."""
    return Percentiles(*percentiles(values, 50, 95, 99, 100))


def late(samples: SampleTable, slo_ms: float) -> NDArray[np.bool_]:
    """Which samples [samples] came later than the SLO after their scheduled moment."""
    after: NDArray[np.bool_] = (samples["done_s"] - samples["scheduled_s"]) * 1e3 > slo_ms
    return after


def shortcomings(summary: Summary) -> tuple[str, ...]:
    """Why a replay did not pass: every frame must be answered as without load; late ones count too."""
    if summary.offered == 0:
        return ("no frame fell due",)
    texts = {
        Verdict.CHANGED: "answers that differ from those without load",
        Verdict.FAILED: "failed requests",
        Verdict.SHED: "shed with 503",
        Verdict.REJECTED: "rejected with 429",
        Verdict.DROPPED: "never sent, too many unanswered",
    }
    found = [f"{text}: {summary.counts[kind.value]}" for kind, text in texts.items() if summary.counts[kind.value]]
    if summary.missing:
        found.append(f"without a sample, the run was cut short: {summary.missing}")
    return tuple(found)


def _those(samples: SampleTable, which: NDArray[np.bool_]) -> SampleTable:
    """Some samples; the table itself if it is all of them, for a copy of a long run's takes gigabytes."""
    return samples if np.all(which) else samples[which]


def _last(moments: NDArray[np.float64]) -> float:
    return float(np.nanmax(moments)) if len(moments) else 0.0


def _statuses(failed: SampleTable) -> dict[int, int]:
    codes, numbers = np.unique(failed["status"], return_counts=True)
    return {int(code): int(number) for code, number in zip(codes, numbers, strict=True)}


def _stage_means(right: SampleTable) -> dict[str, float]:
    means: dict[str, float] = {}
    for stage in STAGES:
        given = right[f"{stage}_ms"][~np.isnan(right[f"{stage}_ms"])]
        if len(given):
            means[stage] = float(np.mean(given, dtype=np.float64))
    return means


def _shares(right: SampleTable) -> tuple[InstanceShare, ...]:
    return tuple(_share(str(name), right) for name in np.unique(right["instance"]))


def _share(name: str, right: SampleTable) -> InstanceShare:
    mine = _those(right, right["instance"] == name)
    return InstanceShare(
        name=name or UNNAMED,
        right=len(mine),
        share=len(mine) / len(right),
        service_p95_ms=order_statistics((mine["done_s"] - mine["sent_s"]) * 1e3).p95,
        infer_ms=_stage_means(mine).get("infer", math.nan),
    )


def _imbalance(instances: tuple[InstanceShare, ...]) -> float:
    return max((abs(one.share * len(instances) - 1.0) for one in instances), default=0.0)


def _doubts(lateness: Percentiles, facts: Facts, counts: dict[str, int]) -> tuple[str, ...]:
    doubts: list[str] = []
    limit_ms = min(LATENESS_P99_LIMIT_MS, LATENESS_P99_LIMIT_SLO * facts.slo_ms)
    if lateness.p99 > limit_ms:
        doubts.append(f"the generator sent late: p99 {lateness.p99:.1f} ms after schedule, limit {limit_ms:g} ms")
    if facts.generator_cpu > GENERATOR_CPU_LIMIT:
        doubts.append(f"the generator used {facts.generator_cpu:.0%} of its core, limit {GENERATOR_CPU_LIMIT:.0%}")
    if facts.starved:
        doubts.append(f"the generator ran out of connections for {facts.starved} frames; raise `ulimit -n`")
    elif counts[Verdict.DROPPED.value] and not facts.drops:
        dropped = counts[Verdict.DROPPED.value]
        doubts.append(f"the generator ran out of connections, {dropped} frames were never sent; raise --in-flight")
    return tuple(doubts)
