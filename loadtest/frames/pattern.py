"""From options to a schedule: [ReplayOptions] + [FrameSet] -> [Schedule]. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from loadtest.errors import OptionError
from loadtest.frames import schedule
from loadtest.frames.schedule import Schedule

# `closed` has no schedule: its clients send when they were answered.
CLOSED = "closed"
PATTERNS = ("cameras", "timestamps", "constant", "poisson", "bursts", CLOSED)
_PHASE = re.compile(r"([0-9]*\.?[0-9]+)x([0-9]*\.?[0-9]+)")


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a schedule is drawn from.

    Attributes:
        kind: one of `PATTERNS`.
        cameras: number of cameras.
        fps: frames per second of each.
        seconds: length of the run.
        seed: of everything drawn.
        burst: arrivals at one moment, for `bursts`.
    """

    kind: str
    cameras: int
    fps: float
    seconds: float
    seed: int
    burst: int


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run.

    Attributes:
        factor: of the asked rate.
        seconds: its length.
    """

    factor: float
    seconds: float


def read_phases(text: str) -> tuple[Phase, ...]:
    """Reads `1.5x20,0.5x30`: 1.5 times the rate for 20 s, then half of it for 30 s; none of an empty text.

    Raises:
        OptionError: it is something else, or a phase is empty.
    """
    if not text:
        return ()
    matches = [_PHASE.fullmatch(part.strip()) for part in text.split(",")]
    phases = tuple(Phase(float(match[1]), float(match[2])) for match in matches if match)
    if len(phases) < len(matches) or not all(phase.factor > 0 and phase.seconds > 0 for phase in phases):
        raise OptionError(f"--phases={text}: give FACTORxSECONDS,..., each above 0, e.g. 1.5x20,0.5x30")
    return phases


def draw(pattern: Pattern, phases: Sequence[Phase], times_s: Sequence[float]) -> Schedule:
    """The whole schedule; empty for a closed loop.

    Args:
        pattern: what to draw.
        phases: parts with rates of their own, one after the other; without any the pattern is drawn once.
        times_s: presentation time of each frame, in seconds.
    """
    phases = phases or (Phase(1.0, pattern.seconds),)
    begins_s = accumulate((phase.seconds for phase in phases), initial=0.0)
    parts = [
        replace(pattern, fps=pattern.fps * phase.factor, seconds=phase.seconds, seed=pattern.seed + number)
        for number, phase in enumerate(phases)
    ]
    return schedule.one_after_another(
        [(begin_s, _draw_one(part, times_s)) for begin_s, part in zip(begins_s, parts, strict=False)]
    )


def _draw_one(pattern: Pattern, times_s: Sequence[float]) -> Schedule:
    kind, cameras, fps, seconds, seed = pattern.kind, pattern.cameras, pattern.fps, pattern.seconds, pattern.seed
    if kind == CLOSED:
        return schedule.nothing()
    if kind == "timestamps":
        return schedule.timestamps(cameras=cameras, fps=fps, seconds=seconds, times_s=times_s, seed=seed)
    frames = len(times_s)
    if kind == "bursts":
        burst = pattern.burst
        return schedule.bursts(cameras=cameras, fps=fps, seconds=seconds, frames=frames, seed=seed, burst=burst)
    even = {"cameras": schedule.cameras, "constant": schedule.constant, "poisson": schedule.poisson}[kind]
    return even(cameras=cameras, fps=fps, seconds=seconds, frames=frames, seed=seed)
