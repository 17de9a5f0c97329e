"""The plots of a report: [SampleTable], [Summary] -> [Plot...]."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import ScalarFormatter
from numpy.typing import NDArray

from loadtest.measure.samples import SampleTable
from loadtest.measure.summary import Percentiles, Summary, order_statistics
from loadtest.report.figure import ACCENT, BAD, INK, MUTED, SERIES, sheet
from loadtest.report.table import milliseconds
from loadtest.target.verdict import Verdict

# More dots than this make a page slow and no plot clearer.
MOST_DOTS = 3000
MOST_BINS = 120
# One far outlier must not flatten everything else.
LOG_FROM_RATIO = 20.0
# A line far above all dots is said in words.
SLO_SHOWN_TO_RATIO = 3.0
# Labels of marks further right than this stand to the left of their line.
LABEL_LEFT_FROM = 0.75
BINS = 60


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot of the page.

    Attributes:
        title: heading.
        alt: what it shows, with its figures, for those who cannot see it.
        svg: the `<svg>` element.
    """

    title: str
    alt: str
    svg: str


def render(samples: SampleTable, summary: Summary, seconds: float) -> tuple[Plot, ...]:
    """All plots; only the rate over time if no answer was right.

    Args:
        samples: all samples of the run.
        summary: made from them.
        seconds: planned length of the run.
    """
    right = samples[samples["verdict"] == Verdict.SAME.value]
    over_time = (throughput(samples, right, summary, seconds),)
    if not len(right):
        return over_time
    return (latency_over_time(samples, right, summary), latency_distribution(right, summary), *over_time)


def latency_over_time(samples: SampleTable, right: SampleTable, summary: Summary) -> Plot:
    """A dot per answer at its scheduled moment, the p95 of each second, the SLO."""
    latency = _latency_ms(right)
    with sheet("scheduled moment, s", "latency, ms") as page:
        axes = page.axes
        for colour, name, chosen in _by_instance(right):
            few = _thinned(latency, chosen)
            axes.plot(right["scheduled_s"][few], latency[few], ".", color=colour, markersize=4, alpha=0.55, label=name)
        moments, slow = _p95_per_bin(right["scheduled_s"], latency)
        axes.plot(moments, slow, color=INK, linewidth=1.4, label="p95 per second")
        limit_ms = _limit(latency, summary.slo_ms)
        _draw_others(axes, samples, limit_ms)
        _draw_slo(axes, summary.slo_ms, limit_ms)
        _fit_y(axes, latency, limit_ms)
        axes.set_xlim(left=0)
        page.legend()
        axes.grid(axis="x", visible=False)
        return Plot("Latency over time", _latency_alt(summary.latency, summary), page.svg("time"))


def latency_distribution(right: SampleTable, summary: Summary) -> Plot:
    """How many answers took how long, with the percentiles and the SLO marked."""
    latency = _latency_ms(right)
    high = _limit(latency, summary.slo_ms)
    log = _wants_log(latency)
    low = max(0.1, float(np.min(latency))) if log else 0.0
    bins = np.geomspace(low, high, BINS) if log else np.linspace(low, high, BINS)
    with sheet("latency, ms", "answers") as page:
        axes = page.axes
        axes.hist(latency, bins=bins.tolist(), color=ACCENT, alpha=0.75)
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.set_xlim(low, high)
        _mark_percentiles(axes, summary, high)
        return Plot("Latency distribution", _latency_alt(summary.latency, summary), page.svg("distribution"))


def throughput(samples: SampleTable, right: SampleTable, summary: Summary, seconds: float) -> Plot:
    """Answers per second that were the same, stacked by instance, under the rate that was offered."""
    edges = _edges(seconds)
    width = float(edges[1] - edges[0])
    offered = np.histogram(samples["scheduled_s"], edges)[0] / width
    bottom = np.zeros(len(edges) - 1)
    with sheet("time, s", "frames/s") as page:
        axes = page.axes
        for colour, name, chosen in _by_instance(right):
            rate = np.histogram(right["done_s"][chosen], edges)[0] / width
            axes.stairs(bottom + rate, edges, baseline=bottom, fill=True, color=colour, alpha=0.7, label=name)
            bottom = bottom + rate
        axes.stairs(offered, edges, baseline=None, color=MUTED, linestyle="--", linewidth=1.2, label="offered")
        axes.set_xlim(0, seconds)
        axes.set_ylim(0, max(float(np.max(offered)), float(np.max(bottom)), 1.0) * 1.12)
        page.legend()
        axes.grid(axis="x", visible=False)
        shares = ", ".join(f"{one.name} {one.share:.0%}" for one in summary.instances)
        alt = (
            f"Answers as without load per second, stacked by instance: {summary.achieved_fps:.1f} on average "
            f"of {summary.offered_fps:.1f} offered; shares: {shares or 'none'}."
        )
        return Plot("Answers per second, by instance", alt, page.svg("rate"))


def _latency_alt(found: Percentiles, summary: Summary) -> str:
    return (
        f"Latency from the scheduled moment: half of the answers within {found.p50:.1f} ms, 95 % within "
        f"{found.p95:.1f} ms, 99 % within {found.p99:.1f} ms, the slowest {found.worst:.1f} ms; "
        f"{summary.late} answers were later than the limit of {summary.slo_ms:g} ms."
    )


def _latency_ms(samples: SampleTable) -> NDArray[np.float64]:
    return np.asarray((samples["done_s"] - samples["scheduled_s"]) * 1e3, dtype=np.float64)


def _by_instance(right: SampleTable) -> Iterable[tuple[str, str, NDArray[np.intp]]]:
    for number, name in enumerate(np.unique(right["instance"])):
        yield SERIES[number % len(SERIES)], str(name) or "(unnamed)", np.flatnonzero(right["instance"] == name)


def _thinned(latency: NDArray[np.float64], chosen: NDArray[np.intp]) -> NDArray[np.intp]:
    """At most so many of the chosen dots: the slowest tenth of them as they are, the others evenly thinned."""
    if len(chosen) <= MOST_DOTS:
        return chosen
    slow_first = chosen[np.argsort(latency[chosen])[::-1]]
    kept = MOST_DOTS // 10
    rest = slow_first[kept:]
    step = math.ceil(len(rest) / (MOST_DOTS - kept))
    return np.concatenate([slow_first[:kept], rest[::step]])


def _edges(seconds: float) -> NDArray[np.float64]:
    """Bins of a second, or longer ones in a long run; a short run has at least four."""
    return np.linspace(0.0, seconds, max(4, min(MOST_BINS, round(seconds))) + 1)


def _p95_per_bin(
    moments: NDArray[np.float64], latency: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    edges = _edges(max(float(np.max(moments)), 1.0))
    places = np.digitize(moments, edges[1:-1])
    slow = np.array([order_statistics(latency[places == place]).p95 for place in range(len(edges) - 1)])
    return (edges[:-1] + edges[1:]) / 2, slow


def _wants_log(latency: NDArray[np.float64]) -> bool:
    return float(np.max(latency)) > LOG_FROM_RATIO * float(np.median(latency))


def _limit(latency: NDArray[np.float64], slo_ms: float) -> float:
    """Greatest latency to show, in ms: with the SLO, unless that would press everything else flat."""
    worst = float(np.max(latency))
    return max(worst, slo_ms) * 1.1 if slo_ms <= SLO_SHOWN_TO_RATIO * worst else worst * 1.35


def _draw_others(axes: Axes, samples: SampleTable, limit_ms: float) -> None:
    """A cross per frame that was sent but not answered as without load; at the upper edge if it took too long."""
    sent = samples["verdict"] != Verdict.DROPPED.value
    others = samples[sent & (samples["verdict"] != Verdict.SAME.value)]
    if len(others):
        took = np.minimum(_latency_ms(others), limit_ms * 0.97)
        few = _thinned(took, np.arange(len(others)))
        axes.plot(others["scheduled_s"][few], took[few], "x", color=BAD, markersize=6, label="not the same")


def _draw_slo(axes: Axes, slo_ms: float, limit_ms: float) -> None:
    if slo_ms <= limit_ms:
        axes.axhline(slo_ms, color=BAD, linestyle="--", linewidth=1.2, label=f"SLO {slo_ms:g} ms")
    else:
        axes.plot([], [], color=BAD, linestyle="--", label=f"SLO {slo_ms:g} ms, far above")


def _mark_percentiles(axes: Axes, summary: Summary, limit_ms: float) -> None:
    top = axes.get_ylim()[1] * 1.4
    axes.set_ylim(0, top)
    found = summary.latency
    marks = {"p50": found.p50, "p95": found.p95, "p99": found.p99, "SLO": summary.slo_ms}
    for row, (name, value) in enumerate(marks.items()):
        colour = BAD if name == "SLO" else INK
        # One below the other: percentiles may lie side by side.
        height = top * (0.98 - 0.08 * row)
        if value > limit_ms:
            axes.text(limit_ms, height, f"{name} {value:g} →", color=colour, va="top", ha="right", fontsize=10)
            continue
        axes.vlines(value, 0, height, color=colour, linewidth=1, linestyles="--" if name == "SLO" else "-")
        left = value > LABEL_LEFT_FROM * limit_ms
        text = f"{name} {milliseconds(value)} " if left else f" {name} {milliseconds(value)}"
        axes.text(value, height, text, color=colour, va="top", ha="right" if left else "left", fontsize=10)


def _fit_y(axes: Axes, latency: NDArray[np.float64], limit_ms: float) -> None:
    if _wants_log(latency):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.set_ylim(top=limit_ms)
    else:
        axes.set_ylim(0, limit_ms)
