"""One self-contained page about a capacity: [Capacity] -> HTML text. It is rendered here and written elsewhere.

`latency_plot`, `throughput_plot`: the plots of a capacity page: [Capacity] -> [Plot...].
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from loadtest.capacity import answer, curve
from loadtest.capacity.fits import BatchFit, Scaling
from loadtest.capacity.gate import Comparison
from loadtest.capacity.records import Capacity, Timeline
from loadtest.capacity.row import Row, Times
from loadtest.report.figure import ACCENT, BAD, INK, MUTED, SERIES, sheet
from loadtest.report.plots import Plot
from loadtest.report.report import Tile
from loadtest.report.table import milliseconds
from loadtest.target import proof, service_status

# Latencies far above the limit only say that it was missed.
SHOWN_TO_SLO = 2.5
# Where most frames are late, stages no longer say where time goes.
SHOWN_FROM = 0.5
# How far the line is drawn beyond what was measured: further is a guess.
SCALING_TO = 2


def render(found: Capacity, comparison: Comparison | None = None) -> str:
    """The page; it needs no other file and no network."""
    environment = Environment(
        loader=PackageLoader("loadtest"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["ms"] = lambda value: "-" if value is None else milliseconds(value)
    return environment.get_template("capacity.html.j2").render(_context(found, comparison))


def tiles(found: Capacity) -> tuple[Tile, ...]:
    """The figures that answer the first questions."""
    slo, row = found.slo, answer.row_at(found)
    verified = "-" if found.verified_fps is None else f"{found.verified_fps:.1f}"
    return (
        Tile("Capacity, frames/s", f"{slo.estimate:.1f}", f"{slo.low:.1f} to {slo.high:.1f}, 95 % confidence", "good"),
        Tile(
            "Verified",
            verified,
            f"held {found.repetitions} times in a row" if found.verified_fps else "no rate held every time",
            "plain" if found.verified_fps else "warn",
        ),
        Tile("Per instance", f"{slo.estimate / found.instances:.1f}" if found.instances else "-", "frames/s", "plain"),
        Tile(
            f"Latency p95 at {row.asked_fps:.1f}",
            f"{milliseconds(row.times.p95_ms)} ms" if row.times else "-",
            f"SLO {found.slo_ms:g} ms",
            "plain",
        ),
        Tile("Knee, frames/s", f"{found.knee_fps:.1f}", "latency takes over beyond it", "plain"),
    )


def _context(found: Capacity, comparison: Comparison | None) -> dict[str, Any]:
    return {
        "found": found,
        "headline": answer.headline(found),
        "tiles": tiles(found),
        "warning": _warning(found),
        "simulated": service_status.simulated(found.provenance.status),
        "comparison": comparison,
        "trust": answer.trust_text(found),
        "plots": _plots(found),
        "timelines": found.timelines,
        "row": answer.row_at(found),
        "rows": sorted(found.rows, key=lambda row: row.asked_fps),
        "law": found.scaling,
        "scaling_text": answer.scaling_text(found),
        "batch_text": answer.batch_text(found),
        "little_text": answer.little_text(found),
        "provenance": provenance(found),
    }


def _warning(found: Capacity) -> str:
    part = found.provenance.detecting
    if part is None or part >= proof.FEW:
        return ""
    return f"The service finds something in {part:.0%} of the frames: that answers stay the same proves little"


def _plots(found: Capacity) -> tuple[Plot, ...]:
    plots = [latency_plot(found), throughput_plot(found), stages_plot(found)]
    plots += [batch_plot(found.batch)] if found.batch else []
    plots += [scaling_plot(found.scaling)]
    plots += [timeline_plot(one, number) for number, one in enumerate(found.timelines)]
    return tuple(plot for plot in plots if plot)


def provenance(found: Capacity) -> list[tuple[str, str]]:
    """Pairs of name and text: all that is needed to measure the same again."""
    source, status = found.provenance, found.provenance.status
    cpu = "the service does not tell" if found.cpu_ms is None else f"{found.cpu_ms:.2f} ms of CPU a frame"
    calm: tuple[Row, ...] = curve.calm(found.rows)
    return [
        ("Service", f"{source.url}{source.route}, release {status.get('release') or 'unknown'}"),
        ("Model", f"{service_status.text(status, 'model', 'name')}, engine {service_status.engine(status)}"),
        ("Frames", f"{source.video}, {source.frame}, {source.request_bytes / 1e3:.1f} kB each"),
        ("Answers", f"{source.response_bytes / 1e3:.2f} kB each, every one held against the one without load"),
        ("The same means", source.right or "unknown"),
        ("SLO", f"{found.in_time_wanted:.0%} of all frames as without load within {found.slo_ms:g} ms of their moment"),
        ("Instances' CPU", cpu),
        (
            "Steps",
            f"{len(found.rows)}, {len(calm)} of them on the curve, {calm[0].seconds:.0f} s each" if calm else "0",
        ),
        ("Seed", f"{source.seed}, and one more for each step"),
        ("Started", source.started),
        ("Revision", source.revision or "unknown"),
        ("Load made on", str(source.machine)),
        ("Versions", ", ".join(f"{name} {number}" for name, number in source.versions.items())),
    ]


def latency_plot(found: Capacity) -> Plot:
    """Latency over the rate with the SLO, the interval of the capacity and the knee."""
    rows = [row for row in curve.calm(found.rows) if row.times]
    top_ms = _top_ms(rows, found.slo_ms)
    with sheet("rate, frames/s", "latency from the scheduled moment, ms") as page:
        axes = page.axes
        _draw_quantile(axes, rows, "p50", lambda times: times.p50_ms, SERIES[2])
        _draw_quantile(axes, rows, "p95", lambda times: times.p95_ms, SERIES[0])
        _draw_quantile(axes, rows, "p99", lambda times: times.p99_ms, SERIES[1])
        axes.axhline(found.slo_ms, color=BAD, linestyle="--", linewidth=1.2, label=f"SLO {found.slo_ms:g} ms")
        axes.axvspan(found.slo.low, found.slo.high, color=ACCENT, alpha=0.18, linewidth=0)
        axes.axvline(found.slo.estimate, color=ACCENT, linewidth=1.4, label=f"capacity {found.slo.estimate:.1f}")
        axes.axvline(found.knee_fps, color=MUTED, linestyle=":", linewidth=1.2, label=f"knee {found.knee_fps:.1f}")
        axes.set_ylim(0, top_ms)
        axes.set_xlim(left=0)
        page.legend()
        return Plot("Latency over rate", _latency_alt(found), page.svg("latency"))


def throughput_plot(found: Capacity) -> Plot:
    """Answers that were the same and those in time over the offered rate."""
    rows = sorted(found.rows, key=lambda row: row.asked_fps)
    offered = [row.asked_fps for row in rows]
    most = max(offered, default=1.0)
    with sheet("rate, frames/s", "answers per second") as page:
        axes = page.axes
        axes.plot([0, most], [0, most], color=MUTED, linestyle="--", linewidth=1, label="offered")
        axes.plot(offered, [row.ok_fps for row in rows], ".", color=SERIES[0], markersize=8, label="same")
        good = [sum(row.seconds_in_time) / row.seconds for row in rows]
        axes.plot(offered, good, "x", color=SERIES[2], markersize=6, label="same and in time")
        axes.axvline(found.slo.estimate, color=ACCENT, linewidth=1.4, label=f"capacity {found.slo.estimate:.1f}")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        page.legend()
        alt = f"Answers per second over the offered rate: at most {found.peak_fps:.1f}."
        return Plot("Throughput over rate", alt, page.svg("throughput"))


def stages_plot(found: Capacity) -> Plot | None:
    """Mean time per stage over the rate, stacked; none if the service names no stage."""
    rows = [row for row in curve.calm(found.rows) if row.stages and row.in_time > SHOWN_FROM]
    rows = [group[-1] for group in _by_rate(rows)]
    if not rows:
        return None
    names = ["outside", *rows[0].stages]
    with sheet("rate, frames/s", "mean ms") as page:
        heights = [[max(0.0, _stage_ms(row, name)) for row in rows] for name in names]
        page.axes.stackplot(
            [row.asked_fps for row in rows],
            heights,
            labels=names,
            colors=[SERIES[number % len(SERIES)] for number in range(len(names))],
            alpha=0.75,
        )
        page.axes.set_xlim(rows[0].asked_fps, rows[-1].asked_fps if len(rows) > 1 else rows[0].asked_fps + 1)
        page.legend()
        last = ", ".join(f"{name} {_stage_ms(rows[-1], name):.1f}" for name in names)
        alt = f"Mean milliseconds per stage, stacked, over the rate; at {rows[-1].asked_fps:.1f} frames/s: {last}."
        return Plot("Where the time goes", alt, page.svg("stages"))


def batch_plot(fit: BatchFit) -> Plot:
    """Time in the engine over the batch size, with the line."""
    with sheet("frames in a batch", "ms in the engine") as page:
        axes = page.axes
        most = max(point.batches for point in fit.points)
        sizes = [20 + 180 * point.batches / most for point in fit.points]
        axes.scatter(
            [point.size for point in fit.points],
            [point.mean_ms for point in fit.points],
            s=sizes,
            color=SERIES[0],
            alpha=0.75,
            label="measured, larger for more batches",
        )
        last = fit.points[-1].size
        line = f"{fit.a_ms:.2f} + {fit.b_ms:.2f} n"
        axes.plot([0, last], [fit.a_ms, fit.a_ms + fit.b_ms * last], color=INK, linewidth=1.2, label=line)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(0, last * 1.08)
        axes.set_ylim(0, max(point.mean_ms for point in fit.points) * 1.15)
        page.legend()
        alt = f"Time in the engine of a batch of n frames: {fit.a_ms:.2f} ms + {fit.b_ms:.2f} ms a frame."
        return Plot("What a batch costs", alt, page.svg("batch"))


def scaling_plot(law: Scaling) -> Plot:
    """Capacity over the number of instances, with the law, and each point's distance from it."""
    last = SCALING_TO * law.points[-1].instances
    many = np.linspace(1, last, 60)
    with sheet("instances", "capacity, frames/s") as page:
        axes = page.axes
        axes.plot([0, last], [0, law.one_fps * last], color=MUTED, linestyle="--", linewidth=1, label="linear")
        label = "USL" if law.measured > 1 else "assumed"
        axes.plot(many, [law.fps(float(n)) for n in many], color=INK, linewidth=1.3, label=label)
        axes.plot(
            [point.instances for point in law.points],
            [point.fps for point in law.points],
            "o",
            color=SERIES[0],
            label="measured",
        )
        # A line through one point has no distance from it.
        for point in law.points if law.measured > 1 else ():
            # Adding 0 turns -0.0 into 0.0.
            off = round(point.fps / law.fps(point.instances) - 1, 4) + 0.0
            axes.annotate(
                f"{off:+.1%}", (point.instances, point.fps), xytext=(6, -14), textcoords="offset points", fontsize=10
            )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(0, last * 1.02)
        axes.set_ylim(bottom=0)
        page.legend()
        points = ", ".join(f"{p.instances} instances {p.fps:.1f} frames/s" for p in law.points)
        growth = f"contention {law.contention:.3f}, coherency {law.coherency:.4f}"
        alt = f"Capacity over instances: {points}; {growth if law.measured > 1 else 'that it grows so is assumed'}."
        return Plot("Scaling, with each point's distance from the line", alt, page.svg("scaling"))


def timeline_plot(found: Timeline, number: int) -> Plot:
    """Frames offered and answered in time in each second."""
    edges = np.arange(len(found.offered) + 1)
    with sheet("time, s", "frames per second") as page:
        axes = page.axes
        axes.stairs(found.in_time, edges, fill=True, color=SERIES[2], alpha=0.6, label="in time")
        axes.stairs(found.offered, edges, baseline=None, color=MUTED, linewidth=1.3, label="offered")
        top = max(found.offered, default=1) * 1.25
        for moment, text in found.marks:
            axes.axvline(moment, color=BAD, linewidth=1, linestyle=":")
            axes.text(moment, top * 0.98, f" {text}", color=BAD, va="top", fontsize=10)
        axes.set_xlim(0, max(1, len(found.offered)))
        axes.set_ylim(0, top)
        page.legend()
        return Plot(found.title, found.text, page.svg(f"timeline{number}"))


def _draw_quantile(axes: Axes, rows: Sequence[Row], name: str, quantile: Callable[[Times], float], colour: str) -> None:
    """A dot per step, and a line through the medians of each rate."""
    each = [(row.asked_fps, quantile(row.times)) for row in rows if row.times]
    axes.plot([fps for fps, _ in each], [ms for _, ms in each], ".", color=colour, markersize=5, alpha=0.55)
    groups = [[quantile(row.times) for row in group if row.times] for group in _by_rate(rows)]
    rates = [group[0].asked_fps for group in _by_rate(rows)]
    axes.plot(rates, [float(np.median(group)) for group in groups], color=colour, linewidth=1.4, label=name)


def _by_rate(rows: Sequence[Row]) -> list[list[Row]]:
    rates = sorted({row.asked_fps for row in rows})
    return [[row for row in rows if row.asked_fps == rate] for rate in rates]


def _top_ms(rows: Sequence[Row], slo_ms: float) -> float:
    slowest = max((row.times.p99_ms for row in rows if row.times), default=slo_ms)
    return min(max(slowest, slo_ms) * 1.1, slo_ms * SHOWN_TO_SLO)


def _stage_ms(row: Row, name: str) -> float:
    found = row.outside_ms if name == "outside" else row.stages.get(name)
    return found if found is not None and not math.isnan(found) else 0.0


def _latency_alt(found: Capacity) -> str:
    return (
        f"Latency over the rate. The SLO of {found.slo_ms:g} ms is met up to {found.slo.estimate:.1f} frames/s, "
        f"{found.slo.low:.1f} to {found.slo.high:.1f} with 95 % confidence; the knee is at {found.knee_fps:.1f}."
    )
