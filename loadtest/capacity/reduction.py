"""One step of a sweep as a row: [Step] and its samples -> [Row]. Pure."""

import math
from collections.abc import Iterable

import numpy as np

from loadtest.capacity import fits
from loadtest.capacity.row import Little, Row, Share, Times
from loadtest.measure.samples import SampleTable
from loadtest.measure.step import Step
from loadtest.measure.summary import InstanceShare
from loadtest.target.verdict import Verdict


def reduce(kind: str, seed: int, step: Step, samples: SampleTable, start_s: float) -> Row:
    """Works out a row.

    Args:
        kind: what the step was for.
        seed: of its schedule.
        step: its figures.
        samples: all of its samples.
        start_s: end of its warm-up.
    """
    window = samples[samples["scheduled_s"] >= start_s]
    counts = step.counts
    offered, in_time = per_second(window, step.slo_ms, start_s, step.seconds)
    sizes, _ = fits.batch_times(window)
    return Row(
        kind=kind,
        asked_fps=step.asked_fps,
        sent_fps=step.sent_fps,
        ok_fps=step.ok_fps,
        seconds=step.seconds,
        seed=seed,
        in_time=(counts.ok - counts.late) / counts.offered if counts.offered else 0.0,
        in_time_sent=_in_time_sent(window, step.slo_ms, counts.offered),
        counts=counts,
        times=_times(step),
        stages=step.stages,
        outside_ms=_known(step.outside_ms) if step.stages else None,
        shares=tuple(_shares(step.instances)),
        little=_little(step, window),
        batch=fits.mean_size(sizes),
        lateness_p99_ms=_known(step.generator.lateness_p99_ms),
        generator_cpu=_known(step.generator.cpu),
        doubts=step.invalid,
        seconds_offered=offered,
        seconds_in_time=in_time,
    )


def per_second(
    samples: SampleTable, slo_ms: float, start_s: float, seconds: float
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Frames that fell due in each second from a start on, and those of them answered right in time."""
    edges = start_s + np.arange(math.ceil(seconds) + 1)
    right = samples["verdict"] == Verdict.SAME.value
    # A frame that was never answered has no time: the comparison is false, as it should be.
    in_time = right & ((samples["done_s"] - samples["scheduled_s"]) * 1e3 <= slo_ms)
    offered = np.histogram(samples["scheduled_s"], edges)[0]
    good = np.histogram(samples["scheduled_s"][in_time], edges)[0]
    return tuple(map(int, offered)), tuple(map(int, good))


def _in_time_sent(window: SampleTable, slo_ms: float, offered: int) -> float:
    right = window[window["verdict"] == Verdict.SAME.value]
    return float(np.sum((right["done_s"] - right["sent_s"]) * 1e3 <= slo_ms)) / max(1, offered)


def _times(step: Step) -> Times | None:
    if not step.counts.ok:
        return None
    return Times(
        mean_ms=step.latency_mean_ms,
        p50_ms=step.latency.p50,
        p95_ms=step.latency.p95,
        p99_ms=step.latency.p99,
        service_mean_ms=step.service_mean_ms,
        service_p95_ms=step.service.p95,
    )


def _shares(instances: Iterable[InstanceShare]) -> Iterable[Share]:
    for one in instances:
        yield Share(one.name, one.right, one.share, one.service_p95_ms, _known(one.infer_ms))


def _little(step: Step, window: SampleTable) -> Little | None:
    """Of all frames that were sent, whatever their answer; a growing queue sets the two figures apart."""
    took_s = window["done_s"] - window["sent_s"]
    took_s = took_s[~np.isnan(took_s)]
    if not len(took_s):
        return None
    return Little(step.in_flight_mean, len(took_s) / step.seconds * float(np.mean(took_s)))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
