"""One step of a load test, a run at one rate, as a record: [SampleTable] + run.json, end.json -> [Step]. Pure.

Scenarios judge steps, and a capacity sweep is a list of them. A step is never stored: it is worked out again from the
raw samples in its folder.
"""

import math
from dataclasses import dataclass

import numpy as np

from loadtest.measure.run_folder import EndRecord, RunRecord
from loadtest.measure.samples import SampleTable
from loadtest.measure.summary import Facts, InstanceShare, Percentiles, Summary, summarise
from loadtest.target.verdict import Verdict

# Moments at which the unanswered requests are counted.
LOOKS = 2000


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the arrivals after the warm-up; all but `late` and `ok` add up to `offered`.

    Attributes:
        offered: arrivals that fell due.
        ok: right answers, those that were late included.
        late: right answers later than the SLO after their scheduled moment; also in `ok`.
        wrong: status 200, but not the frame's reference answer.
        shed: 503, the service protects itself.
        rejected: 429, the client is over its rate.
        failed: any other status, or no answer at all.
        dropped: never sent.
        missing: left no sample, the run was cut short.
    """

    offered: int
    ok: int
    late: int
    wrong: int
    shed: int
    rejected: int
    failed: int
    dropped: int
    missing: int


@dataclass(frozen=True, slots=True)
class Generator:
    """How the load generator itself fared.

    Attributes:
        processes: that made the load.
        lateness_p50_ms: from the moment a frame should have been sent to its send, median.
        lateness_p99_ms: the same, 99 % were no later.
        cpu: share of one core that its busiest process used, 0 to 1; NaN if it died before it could say.
    """

    processes: int
    lateness_p50_ms: float
    lateness_p99_ms: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Step:
    """The results of one run at one rate; times in milliseconds, of right answers only, NaN without any.

    The warm-up is left out everywhere. Rates are over the planned seconds after it: `sent_fps` and `goodput_fps` count
    what fell due in them, `ok_fps` what was answered in them.

    Attributes:
        name: of the step within its scenario or sweep, e.g. `rate-40`.
        folder: where its raw samples are.
        arrivals: kind of schedule, e.g. `poisson`; `closed` means that `streams` clients wait for each answer.
        streams: cameras, or clients of a closed loop.
        asked_fps: frames per second that were asked for; 0 for a closed loop, which takes what it gets.
        sent_fps: frames per second that the generator sent.
        ok_fps: right answers per second; in a closed loop or beyond saturation, the throughput.
        goodput_fps: right answers within the SLO per second.
        seconds: planned length without the warm-up.
        slo_ms: the latency that has to be met.
        counts: what became of the arrivals.
        latency: from the scheduled moment to the whole answer.
        latency_mean_ms: mean of the same.
        service: from the send to the whole answer.
        service_mean_ms: mean of the same.
        in_flight_mean: unanswered requests, averaged over time (all that were sent, whatever the answer); counted at
            regular moments and not derived from rate and service time, so that Little's law can be checked with it.
        stages: mean time per stage of the service, from `Server-Timing`; without those it never named.
        outside_ms: mean service time not covered by the stages: network, balancer, HTTP.
        instances: by name, with their shares.
        generator: how the load generator fared.
        invalid: why this is not a measurement of the service, one line each; empty if it is one.
    """

    name: str
    folder: str
    arrivals: str
    streams: int
    asked_fps: float
    sent_fps: float
    ok_fps: float
    goodput_fps: float
    seconds: float
    slo_ms: float
    counts: Counts
    latency: Percentiles
    latency_mean_ms: float
    service: Percentiles
    service_mean_ms: float
    in_flight_mean: float
    stages: dict[str, float]
    outside_ms: float
    instances: tuple[InstanceShare, ...]
    generator: Generator
    invalid: tuple[str, ...]

    @property
    def valid(self) -> bool:
        """Whether the generator did what it was asked to."""
        return not self.invalid


def make(name: str, folder: str, record: RunRecord, end: EndRecord | None, samples: SampleTable) -> Step:
    """Works a step out.

    Args:
        name: of the step.
        folder: where its samples are.
        record: how the run was set up.
        end: how it ended; none if a generator died.
        samples: structured array [samples] as `sample_files.read` gives it.
    """
    options, facts = record.options, facts_of(record, end)
    window = samples[samples["scheduled_s"] >= options.warmup_s]
    summary = summarise(samples, facts)
    seconds = options.length_s - options.warmup_s
    right = window[window["verdict"] == Verdict.SAME.value]
    counts = _counts(summary)
    return Step(
        name=name,
        folder=folder,
        arrivals=options.arrivals,
        streams=options.cameras,
        asked_fps=options.asked_fps,
        sent_fps=(len(window) - counts.dropped) / seconds,
        ok_fps=_answered(samples, options.warmup_s, options.length_s) / seconds,
        goodput_fps=(counts.ok - counts.late) / seconds,
        seconds=seconds,
        slo_ms=options.slo_ms,
        counts=counts,
        latency=summary.latency,
        latency_mean_ms=_mean_ms(right, "scheduled_s"),
        service=summary.service,
        service_mean_ms=_mean_ms(right, "sent_s"),
        in_flight_mean=in_flight_mean(samples, options.warmup_s, options.length_s),
        stages=summary.stages,
        outside_ms=summary.outside_ms,
        instances=summary.instances,
        generator=Generator(
            processes=end.processes if end else 1,
            lateness_p50_ms=summary.lateness.p50,
            lateness_p99_ms=summary.lateness.p99,
            cpu=facts.generator_cpu,
        ),
        invalid=summary.doubts + _cut_short(end, counts),
    )


def facts_of(record: RunRecord, end: EndRecord | None) -> Facts:
    """What a summary needs to know about a run."""
    options = record.options
    return Facts(
        arrivals=record.arrivals,
        seconds=options.length_s,
        slo_ms=options.slo_ms,
        generator_cpu=end.generator_cpu if end else math.nan,
        warmup_s=options.warmup_s,
        drops=options.keep == "newest",
        starved=end.starved if end else 0,
    )


def in_flight_mean(samples: SampleTable, begin_s: float, end_s: float) -> float:
    """Unanswered requests, averaged over so many moments between the two."""
    looks = np.linspace(begin_s, end_s, LOOKS, endpoint=False)
    sent, done = (np.sort(samples[name][~np.isnan(samples[name])]) for name in ("sent_s", "done_s"))
    return float(np.mean(np.searchsorted(sent, looks, "right") - np.searchsorted(done, looks, "right")))


def _counts(summary: Summary) -> Counts:
    of = summary.counts
    return Counts(
        offered=summary.offered,
        ok=summary.right,
        late=summary.late,
        wrong=of[Verdict.CHANGED.value],
        shed=of[Verdict.SHED.value],
        rejected=of[Verdict.REJECTED.value],
        failed=of[Verdict.FAILED.value],
        dropped=of[Verdict.DROPPED.value],
        missing=summary.missing,
    )


def _answered(samples: SampleTable, begin_s: float, end_s: float) -> int:
    right = samples["verdict"] == Verdict.SAME.value
    return int(np.sum(right & (samples["done_s"] >= begin_s) & (samples["done_s"] < end_s)))


def _mean_ms(right: SampleTable, since: str) -> float:
    return float(np.mean(right["done_s"] - right[since]) * 1e3) if len(right) else math.nan


def _cut_short(end: EndRecord | None, counts: Counts) -> tuple[str, ...]:
    if end is None:
        return ("a load generator died, or could not say how it fared",)
    return (f"the run was cut short: {counts.missing} frames left no sample",) if counts.missing else ()
