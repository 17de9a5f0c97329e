"""A finished run, read back from its folder, and the files made from it: disk -> [Results] -> report, summary, clip.

`notes_about`: what a reader should keep in mind of a run's figures: [Summary] + [References] -> notes, a line each.
Pure.

`add_samples_verb`, `export_samples`: the verb `samples`: raw samples as CSV, for a spreadsheet or another tool.
"""

import argparse
import csv
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from loadtest.errors import LoadTestError, VideoError
from loadtest.frames.frames import FrameSet, cut, encode
from loadtest.measure import faults, run_folder, sample_files
from loadtest.measure.faults import Fault
from loadtest.measure.run_folder import RunRecord
from loadtest.measure.samples import COLUMNS, SampleTable
from loadtest.measure.step import facts_of
from loadtest.measure.summary import UNNAMED, Summary, summarise
from loadtest.report import report
from loadtest.report.annotate import MOST_CLIP_FRAMES, draw, telling_frame, write_clip
from loadtest.report.progress import Progress
from loadtest.report.report import Pictures
from loadtest.target import proof, reference
from loadtest.target.reference import References

# With fewer answers the percentile is the slowest of them.
LEAST_FOR_P95, LEAST_FOR_P99 = 20, 100
STILL_QUALITY = 88


@dataclass(frozen=True, slots=True)
class Results:
    """All that is known about a finished run.

    Attributes:
        record: how it was set up.
        samples: one row per arrival.
        summary: what they say.
        faults: the first answers that were not the same, with reasons.
        references: the idle service's answers.
    """

    record: RunRecord
    samples: SampleTable
    summary: Summary
    faults: tuple[Fault, ...]
    references: References


def read(folder: Path) -> Results:
    """Reads a run folder and works out its results.

    Raises:
        RunError: it is no run folder, or a file in it is damaged.
    """
    record = run_folder.read(folder / run_folder.RUN, RunRecord)
    table, references = sample_files.read(folder), reference.load(folder / run_folder.REFERENCES)
    summary = summarise(table, facts_of(record, run_folder.read_end(folder)))
    return Results(
        record=record,
        samples=table,
        summary=replace(summary, notes=notes_about(summary, references, set(table["frame"].tolist()))),
        faults=faults.read(folder / run_folder.FAULTS),
        references=references,
    )


def write_report(results: Results, folder: Path, progress: Progress) -> Path:
    """Writes summary.json, the annotated clip and index.html; returns the page's path.

    Without the video the clip and the annotated frame are left out, the figures stand on their own.
    """
    run_folder.write(results.summary, folder / run_folder.SUMMARY)
    pictures = _pictures(results, folder, progress)
    page = report.render(
        report.Contents(
            record=results.record,
            samples=results.samples,
            summary=results.summary,
            faults=results.faults,
            pictures=pictures,
        )
    )
    path = folder / run_folder.REPORT
    path.write_text(page, encoding="utf-8")
    return path


def _pictures(results: Results, folder: Path, progress: Progress) -> Pictures:
    try:
        frames = _same_frames(results)
        answers = results.references.detections
        index = telling_frame(answers)
        still = encode(draw(frames.picture(index), answers[index]), STILL_QUALITY)
        stem = folder / run_folder.CLIP_STEM
        with progress.steps("annotated clip", min(len(answers), MOST_CLIP_FRAMES), "frame") as step:
            clip = write_clip(frames.jpegs, answers, frames.fps, stem, step)
    except LoadTestError as error:
        return Pictures(b"", "", None, str(error))
    found = ", ".join(f"{one.label} {one.score:.2f}" for one in answers[index]) or "nothing found"
    return Pictures(still, f"Frame {index} of {frames.video.name}: {found}", clip, clip.note)


def _same_frames(results: Results) -> FrameSet:
    options = results.record.options
    frames = cut(options.video_path, options.cut)
    if frames.digest != results.record.digest:
        raise VideoError(f"{options.video}: not the video of this run any more; the pictures are left out")
    return frames


def notes_about(summary: Summary, references: References, frames: Collection[int]) -> tuple[str, ...]:
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


def add_samples_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb to a command line."""
    text = "print the raw samples of a run as CSV, in scheduled order"
    parser = verbs.add_parser("samples", help=text, description=text)
    parser.add_argument("folder", type=Path, help="folder of the run")
    parser.set_defaults(verb=export_samples)


def export_samples(namespace: argparse.Namespace) -> int:
    """Prints them.

    Raises:
        RunError: the folder holds none.
    """
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(COLUMNS)
    out.writerows(sample_files.read(namespace.folder).tolist())
    return 0
