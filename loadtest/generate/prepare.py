"""Everything a run needs before its first request: options -> [Work] -> [References] -> [Prepared] -> run.

Each load generator cuts the video by itself; one of them leads: it has the references and writes run.json. References
of an earlier run are never picked up by chance, for the model may have changed since.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from framefleet.wire import reading
from loadtest.errors import RunError
from loadtest.frames import pattern, schedule
from loadtest.frames.frames import FrameSet, cut
from loadtest.frames.pattern import Phase
from loadtest.frames.payloads import Jpeg, payload
from loadtest.frames.schedule import Schedule
from loadtest.frames.spool import Spool
from loadtest.measure import machine, run_folder
from loadtest.options import ReplayOptions
from loadtest.report.progress import Progress
from loadtest.target import reference
from loadtest.target.reference import References
from loadtest.target.target import Reply, Target
from loadtest.target.verdict import Expected


@dataclass(frozen=True, slots=True)
class Work:
    """What is sent.

    Attributes:
        frames: of the video.
        bodies: the request body of each.
    """

    frames: FrameSet
    bodies: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Prepared:
    """One generator's part of a run, about to start.

    Attributes:
        bodies: the request body of each frame.
        expected: the right answer of each frame.
        arrivals: what falls due when; empty for a closed loop.
        cameras: numbers of the cameras in this part.
        in_flight: greatest number of unanswered frames per camera.
    """

    bodies: Sequence[bytes]
    expected: tuple[Expected, ...]
    arrivals: Schedule
    cameras: tuple[int, ...]
    in_flight: int


def check_video(options: ReplayOptions) -> None:
    """Makes sure that there is a frame to send, before anybody is asked or anything is started.

    Raises:
        VideoError: the video is missing, unreadable or empty.
    """
    cut(options.video_path, replace(options.cut, limit=1))


def load(options: ReplayOptions) -> Work:
    """Cuts the video and makes the bodies.

    Raises:
        VideoError: the video is not usable.
    """
    frames = cut(options.video_path, options.cut)
    kind = payload(options.payload)
    return Work(frames, frames.jpegs if isinstance(kind, Jpeg) else Spool(map(kind.body, frames.jpegs)))


def lead(options: ReplayOptions, work: Work, url: str, folder: Path, given: Path | None = None) -> References:
    """Gets the references and writes run.json.

    Args:
        options: the run's settings.
        work: what is sent.
        url: the service.
        folder: run folder, must exist.
        given: file of references taken a moment ago; without one they are taken here.

    Raises:
        LoadTestError: the service or the folder is not usable.
    """
    # Of an earlier run in this folder; without an end a run that died is told from a complete one.
    run_folder.clear(folder, run_folder.RESULTS)
    with Target(url, options.wait_s) as target:
        status = target.status()
        if given:
            references = load_references(given, options, work)
        else:
            references = take_references(options, work, target)
            reference.save(references, folder / run_folder.REFERENCES)
    run_folder.write(_record(options, work, url, status), folder / run_folder.RUN)
    return references


def take_references(options: ReplayOptions, work: Work, target: Target, progress: Progress | None = None) -> References:
    """Asks the idle service for each frame once.

    Raises:
        TargetError: it is not ready, or an answer is not as promised.
    """
    target.check_ready()
    content_type = payload(options.payload).content_type

    def ask(body: bytes) -> Reply:
        return target.detect(options.path, body, content_type)

    if progress is None:
        return reference.take(work.frames, work.bodies, options.path, ask)
    with progress.steps("reference answers", len(work.bodies), "frame") as step:
        return reference.take(work.frames, work.bodies, options.path, ask, step)


def load_references(path: Path, options: ReplayOptions, work: Work) -> References:
    """Reads references and makes sure that they belong to this work.

    Raises:
        RunError: they do not.
    """
    found = reference.load(path)
    if (found.digest, found.route) != (work.frames.digest, options.path):
        raise RunError(f"{path}: references of other frames or of another route; leave them out")
    return found


def prepare(options: ReplayOptions, work: Work, references: References, part: int = 0, parts: int = 1) -> Prepared:
    """One generator's part of the run; the parts together are the whole."""
    frames, read = work.frames, reading.reader(options.path)
    shared = options.cameras < parts
    return Prepared(
        bodies=work.bodies,
        expected=tuple(
            Expected(frames.width, frames.height, detections, options.tolerance, read)
            for detections in references.detections
        ),
        arrivals=schedule.shard(_arrivals(options, work), options.cameras, part, parts),
        cameras=tuple(camera for camera in range(options.cameras) if camera % parts == part),
        # Generators that share a camera share its bound too.
        in_flight=-(-options.in_flight // parts) if shared else options.in_flight,
    )


def _arrivals(options: ReplayOptions, work: Work) -> Schedule:
    parts = options.parts
    if options.arrivals == "poisson" and options.warmup_s and not parts:
        # Drawn apart, so that the counted part has exactly its rate too.
        parts = (Phase(1.0, options.warmup_s), Phase(1.0, options.seconds - options.warmup_s))
    return pattern.draw(options.pattern, parts, work.frames.times_s)


def _record(options: ReplayOptions, work: Work, url: str, status: dict[str, Any]) -> run_folder.RunRecord:
    frames = work.frames
    return run_folder.RunRecord(
        url=url,
        options=options,
        arrivals=_arrivals(options, work).count_from(options.warmup_s),
        frames=len(work.bodies),
        frame_width=frames.width,
        frame_height=frames.height,
        frame_bytes=sum(map(len, work.bodies)) / len(work.bodies),
        clip_fps=frames.fps,
        digest=frames.digest,
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=machine.describe(),
        versions=machine.versions(),
        status=status,
        frames_lost=frames.lost,
    )
