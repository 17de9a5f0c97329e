"""One self-contained page about a run: [Contents] -> HTML text. It is rendered here and written elsewhere."""

import base64
import math
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from loadtest.measure import provenance
from loadtest.measure.faults import Fault
from loadtest.measure.run_folder import RunRecord
from loadtest.measure.samples import SampleTable
from loadtest.measure.summary import Summary, shortcomings
from loadtest.report import plots
from loadtest.report.annotate import Clip
from loadtest.report.table import EXPLAINED, failure_texts, milliseconds, passed_text
from loadtest.target import service_status
from loadtest.target.verdict import Verdict

MOST_FAULTS_SHOWN = 12
STAGE_TEXTS = {
    "lateness": ("generator", "due, not yet sent"),
    "outside": ("network", "balancer, HTTP, transfer"),
    "decode": ("decode", "JPEG to pixels"),
    "queue": ("queue", "waiting for the engine"),
    "infer": ("infer", "the engine"),
    "post": ("post", "candidates to boxes"),
}


@dataclass(frozen=True, slots=True)
class Pictures:
    """What a page shows of the video.

    Attributes:
        still_jpeg: one annotated frame, empty for none.
        still_alt: what it shows.
        clip: the annotated clip in the page's folder, or none.
        note: what a reader should know about them, empty for nothing.
    """

    still_jpeg: bytes
    still_alt: str
    clip: Clip | None
    note: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What a page is made from.

    Attributes:
        record: how the run was set up.
        samples: one row per arrival.
        summary: what they say.
        faults: the first answers that were not the same.
        pictures: frame and clip.
    """

    record: RunRecord
    samples: SampleTable
    summary: Summary
    faults: tuple[Fault, ...]
    pictures: Pictures


@dataclass(frozen=True, slots=True)
class Tile:
    """One headline figure: what it is, its value, a remark; `state` is good, warn, bad or plain."""

    name: str
    value: str
    remark: str
    state: str


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the mean latency.

    Attributes:
        name: of the stage.
        text: what happens in it.
        ms: its mean.
        share: of the whole, 0 to 1.
        series: number of its colour.
    """

    name: str
    text: str
    ms: float
    share: float
    series: int


def render(contents: Contents) -> str:
    """The page; it needs no file but the clip, and no network."""
    environment = Environment(
        loader=PackageLoader("loadtest"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["ms"] = milliseconds
    return environment.get_template("report.html.j2").render(_context(contents))


def headline(contents: Contents) -> str:
    """The run in one sentence."""
    options, found = contents.record.options, contents.summary
    cameras = provenance.senders(options)
    instances = len(found.instances)
    who = f"{instances} instance{'s' if instances != 1 else ''}"
    if not found.right:
        return f"{cameras} got no answer as without load from {contents.record.url}."
    return (
        f"{who} answered {found.achieved_fps:.1f} of {found.offered_fps:.1f} frames/s from {cameras}, "
        f"95 % of them within {found.latency.p95:.0f} ms of their scheduled moment."
    )


def tiles(summary: Summary) -> tuple[Tile, ...]:
    """The figures that answer the first questions."""
    not_right = summary.offered - summary.right
    slow = summary.latency.p95 > summary.slo_ms or math.isnan(summary.latency.p95)
    return (
        Tile("Frames per second", f"{summary.achieved_fps:.1f}", f"of {summary.offered_fps:.1f} offered", "plain"),
        Tile(
            "Latency p95",
            f"{milliseconds(summary.latency.p95)} ms",
            f"SLO {summary.slo_ms:g} ms",
            "bad" if slow else "good",
        ),
        Tile(
            "Late answers",
            f"{summary.late_share:.1%}" if summary.right else "-",
            f"{summary.late} of {summary.offered} frames",
            "warn" if summary.late else "good" if summary.right else "plain",
        ),
        Tile(
            "Not the same",
            f"{not_right}",
            f"of {summary.offered}, changed or unanswered",
            "bad" if not_right else "good",
        ),
        Tile(
            "Instances",
            f"{len(summary.instances)}",
            _sharing(summary),
            "plain" if summary.even else "warn",
        ),
    )


def _sharing(summary: Summary) -> str:
    if len(summary.instances) < 2:  # noqa: PLR2004 - one shares with nobody
        return "answered all" if summary.instances else "none answered"
    return f"{'even, within' if summary.even else 'uneven, by'} {summary.imbalance:.1%}"


def latency_parts(summary: Summary, samples: SampleTable) -> tuple[Part, ...]:
    """The mean latency split by where it was spent; empty if the service names no stage."""
    if not summary.stages:
        return ()
    right = samples[samples["verdict"] == Verdict.SAME.value]
    lateness_ms = float(((right["sent_s"] - right["scheduled_s"]) * 1e3).mean())
    times = {"lateness": lateness_ms, "outside": summary.outside_ms, **summary.stages}
    # Stages of a batch may overlap by a rounding; a negative remainder is none.
    times = {name: max(0.0, ms) for name, ms in times.items()}
    total = sum(times.values()) or 1.0
    return tuple(
        Part(*STAGE_TEXTS[name], ms=ms, share=ms / total, series=number)
        for number, (name, ms) in enumerate(times.items())
    )


def _context(contents: Contents) -> dict[str, Any]:
    summary = contents.summary
    return {
        "record": contents.record,
        "options": contents.record.options,
        "summary": summary,
        "headline": headline(contents),
        "faults": shortcomings(summary),
        "passed": passed_text(summary),
        "tiles": tiles(summary),
        "plots": plots.render(contents.samples, summary, contents.record.options.seconds),
        "parts": latency_parts(summary, contents.samples),
        "answers": [(kind.value, summary.counts[kind.value], text) for kind, text in EXPLAINED.items()],
        "failure_texts": failure_texts(summary),
        "fault_rows": contents.faults[:MOST_FAULTS_SHOWN],
        "still": base64.b64encode(contents.pictures.still_jpeg).decode("ascii"),
        "clip": contents.pictures.clip,
        "still_alt": contents.pictures.still_alt,
        "note": contents.pictures.note,
        "simulated": service_status.simulated(contents.record.status),
        "provenance": provenance.rows(contents.record, summary),
    }
