"""The options of a replay in one table, for our command line and for Locust's: arguments -> [ReplayOptions].

`checked_route`: the path that a load test asks, with no place for a key: it is written down, and everybody can read
command lines.
"""

import argparse
import math
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl

from framefleet.http.address import KEY_VARIABLE, AddressError, service_address
from framefleet.http.running import URL_HELP, VAR_HELP, asked_address
from framefleet.wire.same import Tolerance
from loadtest.errors import OptionError
from loadtest.frames.frames import CutSettings
from loadtest.frames.pattern import CLOSED, PATTERNS, Pattern, Phase, read_phases
from loadtest.frames.payloads import PAYLOADS, payload

# What a detection can be asked for; nothing else has a meaning in a query, and a key may have any name.
QUERY = ("conf", "iou", "max_det", "agnostic", "classes")
MAX_QUALITY = 100
LEAST_FPS = 0.001
# Beyond what a machine can send, read or keep: a slip of the finger must not cost all its memory, or its disk.
MOST = {
    **{"cameras": 10_000, "fps": 100_000, "seconds": 30 * 86_400, "in_flight": 10_000_000, "burst": 100_000},
    **{"slo_ms": 3_600_000, "wait_s": 3_600, "width": 7_680, "every": 1_000_000, "max_frames": 1_000_000},
    # With more than these every answer is the same as any other.
    **{"seed": 2**62, "box_px": 100, "score_tolerance": 1},
}
MOST_FPS = 100_000
MOST_FRAMES = 200_000_000
MOST_PROCESSES = 128
ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# What a camera at its bound does with a frame: `all` sends it or drops it at once, `newest` keeps the latest one.
KEEP = ("all", "newest")
CHOICES = {"arrivals": PATTERNS, "keep": KEEP, "payload": tuple(PAYLOADS)}


class AddsArguments(Protocol):
    """The one method that argparse's and Locust's parsers (and argument groups) share."""

    def add_argument(self, *names: str, **settings: Any) -> object:
        """See argparse."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What is replayed, how fast, and what counts as right and in time.

    Attributes:
        video: file whose frames are sent.
        cameras: number of cameras.
        fps: frames per second of each camera.
        seconds: length of the run.
        seed: of the schedule.
        slo_ms: an answer later than this after its scheduled moment is late.
        route: path that is asked; empty for the payload's own.
        in_flight: greatest number of unanswered frames per camera; a frame beyond it is dropped and counted.
        wait_s: how long to wait for one answer.
        quality: JPEG quality of the frames.
        width: width of the frames in pixels; 0 keeps the video's.
        every: takes every n-th frame of the video.
        max_frames: at most this many frames; 0 takes all.
        box_px: tolerance of a box's corners against the reference, in pixels.
        score_tolerance: tolerance of a score against the reference.
        threshold: the service's confidence threshold.
        arrivals: pattern of the schedule; its mean rate is cameras x fps.
        burst: frames at one moment, for bursts.
        phases: parts of the run with rates of their own, `FACTORxSECONDS,...`; they replace `seconds`.
        warmup_s: what falls due before this moment is not counted.
        keep: what a camera with too many unanswered frames does with the next one.
        payload: how a frame travels in a request.
    """

    video: str = "var/video/carphone_pristine.mp4"
    cameras: int = 4
    fps: float = 5.0
    seconds: float = 30.0
    seed: int = 1
    slo_ms: float = 100.0
    route: str = ""
    in_flight: int = 16
    wait_s: float = 10.0
    quality: int = 90
    width: int = 0
    every: int = 1
    max_frames: int = 300
    box_px: float = 1.0
    score_tolerance: float = 0.01
    threshold: float = 0.35
    arrivals: str = "cameras"
    burst: int = 8
    phases: str = ""
    warmup_s: float = 0.0
    keep: str = "all"
    payload: str = "jpeg"

    @property
    def path(self) -> str:
        """The path that is asked."""
        return self.route or payload(self.payload).route

    @property
    def asked_fps(self) -> float:
        """Frames per second of all cameras; 0 for a closed loop."""
        return 0.0 if self.closed else self.cameras * self.fps

    @property
    def closed(self) -> bool:
        """Whether each camera waits for its answer before it sends again."""
        return self.arrivals == CLOSED

    @property
    def length_s(self) -> float:
        """Planned length of the run, in seconds."""
        return sum(phase.seconds for phase in self.parts) or self.seconds

    @property
    def parts(self) -> tuple[Phase, ...]:
        """The phases; none for a steady run."""
        return read_phases(self.phases)

    @property
    def pattern(self) -> Pattern:
        """What the schedule is drawn from."""
        return Pattern(self.arrivals, self.cameras, self.fps, self.seconds, self.seed, self.burst)

    @property
    def cut(self) -> CutSettings:
        """How the video becomes frames."""
        return CutSettings(self.quality, self.width, self.every, self.max_frames)

    @property
    def tolerance(self) -> Tolerance:
        """How far an answer may be from its reference."""
        return Tolerance(self.box_px, self.score_tolerance, self.threshold)

    @property
    def video_path(self) -> Path:
        """The video as a path."""
        return Path(self.video)


HELP = {
    "video": "video whose frames are sent",
    "cameras": "number of cameras",
    "fps": "frames per second of each camera",
    "seconds": "length of the run",
    "seed": "seed of the schedule",
    "slo_ms": "an answer later than this after its scheduled moment is late",
    "route": "path that is asked (empty: the payload's own)",
    "in_flight": "greatest number of unanswered frames per camera; more are dropped and counted",
    "wait_s": "how long to wait for one answer, seconds",
    "quality": "JPEG quality of the frames",
    "width": "width of the frames in pixels (0: as the video)",
    "every": "take every n-th frame of the video",
    "max_frames": "at most this many frames (0: all)",
    "box_px": "how far a box's corner may be from the reference, pixels",
    "score_tolerance": "how far a score may be from the reference",
    "threshold": "the service's confidence threshold: a detection next to it may come and go",
    "arrivals": "pattern of the schedule; its mean rate is cameras x fps, closed waits for answers",
    "burst": "frames at one moment, for bursts",
    "phases": "parts with rates of their own instead of seconds: FACTORxSECONDS,...",
    "warmup_s": "seconds at the start that are not counted",
    "keep": "a frame beyond in_flight: all drops it, newest keeps the latest until there is room",
    "payload": "how a frame travels in a request",
}


def add_arguments(parser: AddsArguments, *, defaults: bool = True) -> None:
    """Adds `--video`, `--cameras`... to a parser; without defaults, what is not given is not in its result."""
    for name, default in asdict(ReplayOptions()).items():
        text = f"{HELP[name]} (default {default if default != '' else 'none'})" if defaults else HELP[name]
        choices = {"choices": CHOICES[name]} if name in CHOICES else {}
        unless = default if defaults else argparse.SUPPRESS
        parser.add_argument(_flag(name), type=type(default), default=unless, help=text, **choices)


def from_namespace(namespace: argparse.Namespace) -> ReplayOptions:
    """Picks the options out of parsed arguments.

    Raises:
        OptionError: a value is out of range.
    """
    return checked(ReplayOptions(**{field.name: getattr(namespace, field.name) for field in fields(ReplayOptions)}))


def checked(options: ReplayOptions) -> ReplayOptions:
    """The same options.

    Raises:
        OptionError: a value is out of range.
    """
    if ADDRESS.match(options.video):
        # Not repeated: a camera's password may stand in it.
        raise OptionError(
            "--video: is an address, and a replay needs a file, which gives the same frames again; record one, e.g. "
            "`ffmpeg -i ADDRESS -t 60 -c copy clip.mp4`"
        )
    for name, value in asdict(options).items():
        _demand(not isinstance(value, float) or value != math.inf, options, name, "must be finite")
    for name in ("cameras", "fps", "seconds", "slo_ms", "in_flight", "wait_s", "every", "burst"):
        _demand(getattr(options, name) > 0, options, name, "must be above 0")
    for name in ("width", "max_frames", "box_px", "score_tolerance", "warmup_s"):
        _demand(getattr(options, name) >= 0, options, name, "must not be negative")
    for name, most in MOST.items():
        _demand(abs(getattr(options, name)) <= most, options, name, f"must be at most {most:,}")
    _demand(options.fps >= LEAST_FPS, options, "fps", f"must be at least {LEAST_FPS}")
    _demand(1 <= options.quality <= MAX_QUALITY, options, "quality", "must be from 1 to 100")
    _demand(0 <= options.threshold <= 1, options, "threshold", "must be from 0 to 1")
    checked_route(options.route)
    for name, choices in CHOICES.items():
        _demand(getattr(options, name) in choices, options, name, f"must be one of {', '.join(choices)}")
    _demand(options.warmup_s < options.length_s, options, "warmup_s", "must be shorter than the run")
    _check_amount(options)
    return options


def _check_amount(options: ReplayOptions) -> None:
    parts = options.parts or (Phase(1.0, options.seconds),)
    rate_fps = options.asked_fps * max(part.factor for part in parts)
    frames = options.asked_fps * sum(part.factor * part.seconds for part in parts)
    _demand(options.length_s <= MOST["seconds"], options, "phases", "must last 30 days at most")
    if rate_fps > MOST_FPS:
        raise OptionError(
            f"--cameras x --fps: {rate_fps:,.0f} frames/s are asked for; a run takes {MOST_FPS:,} at most"
        )
    if frames > MOST_FRAMES:
        raise OptionError(f"--cameras x --fps x --seconds: {frames:,.0f} frames; a run takes {MOST_FRAMES:,} at most")


def checked_processes(processes: int) -> int:
    """A number of load generators.

    Raises:
        OptionError: it is out of range.
    """
    if not 1 <= processes <= MOST_PROCESSES:
        rule = "must be above 0" if processes < 1 else f"must be {MOST_PROCESSES} at most"
        raise OptionError(f"--processes={processes}: {rule}")
    return processes


def checked_url(text: str, name: str = "--url") -> str:
    """A service's address without a slash at its end.

    Raises:
        OptionError: it is no such address, or holds a key or password. Addresses end up in records and reports.
    """
    try:
        return service_address(text)
    except AddressError as error:
        raise OptionError(f"{name}: {error}") from None


def add_address(parser: AddsArguments) -> None:
    """Adds `--url` and `--var`, which say whom to ask."""
    parser.add_argument("--url", default="", help=URL_HELP)
    parser.add_argument("--var", type=Path, default=Path("var"), metavar="DIR", help=VAR_HELP)


def asked_url(namespace: argparse.Namespace) -> str:
    """The address of the service to ask: what was typed, else the running fleet's.

    Raises:
        OptionError: it is no address, or none was given and no fleet runs.
    """
    try:
        return asked_address(namespace.url, namespace.var)
    except AddressError as error:
        raise OptionError(f"--url: {error}") from None


def to_arguments(options: ReplayOptions) -> list[str]:
    """The command line that gives the same options again."""
    return [f"{_flag(name)}={value}" for name, value in asdict(options).items()]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _demand(holds: bool, options: ReplayOptions, name: str, rule: str) -> None:
    if not holds:
        raise OptionError(f"{_flag(name)}={getattr(options, name)}: {rule}")


def checked_route(route: str) -> str:
    """The same route; empty stands for the payload's own.

    Raises:
        OptionError: it is no path, or holds what may be a key; the message repeats nothing of that.
    """
    path, _, query = route.partition("?")
    if any(mark in route for mark in "@#;"):
        raise OptionError(f"--route: has a @, # or ;, and no place for a key; set {KEY_VARIABLE}")
    if any(name not in QUERY for name, _ in parse_qsl(query, keep_blank_values=True)):
        raise OptionError(
            f"--route: {path}? takes {', '.join(QUERY)}, and is no place for a key; set {KEY_VARIABLE} for that"
        )
    if route and not route.startswith("/"):
        raise OptionError(f"--route={route}: must begin with /")
    return route
