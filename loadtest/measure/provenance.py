"""Where the figures of a report come from: [RunRecord] -> rows of text. Pure."""

import math

from loadtest.measure.run_folder import RunRecord
from loadtest.measure.summary import Summary
from loadtest.options import ReplayOptions
from loadtest.target import service_status


def rows(record: RunRecord, summary: Summary) -> list[tuple[str, str]]:
    """Pairs of name and text: all that is needed to make the same run again."""
    options, status = record.options, record.status
    cpu = "unknown" if math.isnan(summary.generator_cpu) else f"{summary.generator_cpu:.0%} of one core"
    return [
        ("Service", f"{record.url}{options.path}, release {status.get('release') or 'unknown'}"),
        ("Model", f"{service_status.text(status, 'model', 'name')}, engine {service_status.engine(status)}"),
        ("Video", _video(record)),
        (
            "Load",
            f"{senders(options)} for {options.length_s:g} s, pattern {options.arrivals}{_frames(record)}, "
            f"at most {options.in_flight} unanswered per camera",
        ),
        ("Seed", str(options.seed)),
        ("The same means", right_means(options)),
        ("Started", record.started),
        ("Load made on", f"{record.machine}; the generator used {cpu}"),
        ("Versions", ", ".join(f"{name} {number}" for name, number in record.versions.items())),
    ]


def senders(options: ReplayOptions) -> str:
    """Who sends, and how fast; a closed loop has no rate."""
    plural = "s" if options.cameras != 1 else ""
    if options.closed:
        return f"{options.cameras} client{plural} that wait{'' if plural else 's'} for each answer"
    return f"{options.cameras} camera{plural} at {options.fps:g} frames/s"


def _frames(record: RunRecord) -> str:
    return "" if record.options.closed else f", {record.arrivals} frames"


def right_means(options: ReplayOptions) -> str:
    """How near to its reference an answer must be."""
    return (
        f"corners within {options.box_px:g} px and scores within {options.score_tolerance:g} of the reference; "
        f"a detection that near to the threshold of {options.threshold:g} may be missing or extra"
    )


def _video(record: RunRecord) -> str:
    options = record.options
    chosen = "" if options.every == 1 else f", one frame in {options.every}"
    if record.frames_lost:
        chosen += f"; damaged, {record.frames_lost} frames could not be read and are left out"
    return (
        f"{options.video}, {record.frames} frames of {record.frame_width}x{record.frame_height} in JPEG quality "
        f"{options.quality}, sent as {options.payload}, {record.frame_bytes / 1e3:.1f} kB each{chosen}"
    )
