"""Records and run folders made by hand, with figures a test can foresee."""

from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from framefleet.wire.answers import Detection
from loadtest.frames.frames import cut
from loadtest.measure import machine, run_folder
from loadtest.measure.faults import Fault, FaultWriter
from loadtest.measure.run_folder import EndRecord, RunRecord
from loadtest.measure.sample_files import SampleFile, SampleWriter
from loadtest.measure.samples import DTYPE, NAN, Sample, SampleTable
from loadtest.options import ReplayOptions
from loadtest.target import reference
from loadtest.target.reference import References
from loadtest.target.verdict import Verdict


def detection(score: float = 0.9, x1: float = 60.0, *, label: str = "face", class_id: int = 0) -> Detection:
    return Detection(label, class_id, score, (x1, 50.0, x1 + 46.0, 111.0))


def sample(
    number: int = 0,
    *,
    latency_ms: float = 20.0,
    lateness_ms: float = 1.0,
    verdict: Verdict = Verdict.SAME,
    instance: str = "gpu0",
    status: int = 200,
    period_s: float = 0.1,
) -> Sample:
    """The n-th arrival of one camera, due every `period_s`."""
    due = number * period_s
    if verdict is Verdict.DROPPED:
        return Sample(0, number, due, NAN, NAN, 0, verdict)
    sent, done = due + lateness_ms / 1e3, due + latency_ms / 1e3
    return Sample(0, number, due, sent, done, status, verdict, instance, 0.5, 0.1, 10.0, 0.2, 300)


def make_run(folder: Path, video: Path, samples: Iterable[Sample], faults: Iterable[Fault] = ()) -> RunRecord:
    """Writes a run folder as a replay leaves it; the clock of its sample writer stands still."""
    rows = list(samples)
    options = ReplayOptions(video=str(video), cameras=1, fps=10.0, seconds=max(1.0, len(rows) / 10), max_frames=5)
    frames = cut(video, options.cut)
    folder.mkdir(parents=True, exist_ok=True)
    record = RunRecord(
        url="http://127.0.0.1:8080",
        options=options,
        arrivals=len(rows),
        frames=len(frames.jpegs),
        frame_width=frames.width,
        frame_height=frames.height,
        frame_bytes=8000.0,
        clip_fps=frames.fps,
        digest=frames.digest,
        started="2026-01-02T03:04:05+00:00",
        machine=machine.describe(),
        versions=machine.versions(),
        status={"release": "dev", "model": {"name": "centerface-320"}, "engine": {"kind": "onnxruntime"}},
    )
    run_folder.write(record, folder / run_folder.RUN)
    run_folder.write(EndRecord(True, options.seconds, 0.1), folder / run_folder.END)
    answers = tuple((detection(),) for _ in frames.jpegs)
    reference.save(References(frames.digest, options.path, ("gpu0",), answers), folder / run_folder.REFERENCES)
    write_samples(folder / run_folder.samples_name(0), rows)
    with FaultWriter(folder / run_folder.FAULTS) as log:
        for fault in faults:
            log.write(fault)
    return record


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """One sample file, as a generator leaves it."""
    with SampleFile(path) as file, SampleWriter(file.append, lambda: 0.0) as out:
        for row in samples:
            out.write(row)


def to_table(samples: Iterable[Sample]) -> SampleTable:
    """The same structured array from records in memory."""
    rows: list[tuple[Any, ...]] = [
        tuple(value.value if isinstance(value, Verdict) else value for value in astuple(sample)) for sample in samples
    ]
    return np.array(rows, dtype=DTYPE)
