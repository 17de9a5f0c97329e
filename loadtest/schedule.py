"""Decides when which camera sends which frame, before anything is sent: -> [Arrival...] -> dispatch. Pure.

Every pattern is a function of its arguments and the seed; all draw exactly as many arrivals as were asked for, so that
a short run does not miss its rate by chance.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Arrival:
    """One frame that falls due.

    Attributes:
        camera: number of the camera, from 0.
        frame: index into the frame set.
        due_s: scheduled moment, in seconds from the start of the run.
    """

    camera: int
    frame: int
    due_s: float


def cameras(*, cameras: int, fps: float, seconds: float, frames: int, seed: int) -> tuple[Arrival, ...]:
    """Cameras that each send at a constant rate, like real ones: not in step with each other.

    The cameras' first frames are spread over one frame period (shuffled, with a little jitter) and each camera enters
    the video at a place of its own, so neither the arrivals nor the pictures move in lockstep.

    Args:
        cameras: number of cameras.
        fps: frames per second of each.
        seconds: how long the run takes arrivals; none is due at or after it.
        frames: size of the frame set; cameras go round it.
        seed: the same seed gives the same schedule.

    Returns:
        All arrivals, in the order in which they fall due.
    """
    draw = random.Random(seed)
    slots = draw.sample(range(cameras), cameras)
    arrivals: list[Arrival] = []
    for camera, slot in enumerate(slots):
        offset_s = (slot + draw.random() / 2) / (cameras * fps)
        first = draw.randrange(frames)
        arrivals += [
            Arrival(camera, (first + n) % frames, offset_s + n / fps) for n in range(_count(seconds - offset_s, fps))
        ]
    return _in_order(arrivals)


def timestamps(*, cameras: int, fps: float, seconds: float, times_s: Sequence[float], seed: int) -> tuple[Arrival, ...]:
    """Cameras that send at the moments at which the video's frames were taken, its jitter and gaps included.

    Args:
        cameras: number of cameras; each enters the video at a place of its own.
        fps: mean frames per second of each; the video's own time is stretched to it.
        seconds: how long the run takes arrivals.
        times_s: presentation time of each frame, rising, in seconds; after the last one the video starts again.
        seed: the same seed gives the same schedule.
    """
    draw = random.Random(seed)
    gaps_s = _gaps(times_s, fps)
    arrivals: list[Arrival] = []
    for camera in range(cameras):
        frame, due_s = draw.randrange(len(gaps_s)), draw.random() / fps
        while due_s < seconds:
            arrivals.append(Arrival(camera, frame, due_s))
            due_s += gaps_s[frame]
            frame = (frame + 1) % len(gaps_s)
    return _in_order(arrivals)


def constant(*, cameras: int, fps: float, seconds: float, frames: int, seed: int) -> tuple[Arrival, ...]:
    """One arrival every 1 / (cameras x fps) seconds, the cameras in turn."""
    rate = cameras * fps
    moments = [n / rate for n in range(_count(seconds, rate))]
    return _in_turn(moments, cameras, frames, seed)


def poisson(*, cameras: int, fps: float, seconds: float, frames: int, seed: int) -> tuple[Arrival, ...]:
    """Independent clients: a Poisson process of cameras x fps arrivals per second.

    Given their number, the arrivals of a Poisson process are independent and uniform over the span (Ross, Stochastic
    Processes, theorem 2.3.1). The number is fixed at its mean and the moments are drawn so.
    """
    draw = random.Random(seed)
    moments = sorted(draw.random() * seconds for _ in range(round(cameras * fps * seconds)))
    return _in_turn(moments, cameras, frames, draw.randrange(2**32))


def bursts(*, cameras: int, fps: float, seconds: float, frames: int, seed: int, burst: int) -> tuple[Arrival, ...]:
    """`burst` arrivals at one moment, then nothing, so that the mean is cameras x fps per second."""
    rate = cameras * fps
    moments = [n // burst * burst / rate for n in range(_count(seconds, rate))]
    return _in_turn(moments, cameras, frames, seed)


def shard(arrivals: Sequence[Arrival], cameras: int, part: int, parts: int) -> tuple[Arrival, ...]:
    """One generator's part of a schedule; the parts together are the whole.

    A camera stays in one part, for its frames wait for each other; with fewer cameras than parts the arrivals are dealt
    out in turn.
    """
    if cameras >= parts:
        return tuple(arrival for arrival in arrivals if arrival.camera % parts == part)
    return tuple(arrivals[part::parts])


def _in_turn(moments: Sequence[float], cameras: int, frames: int, seed: int) -> tuple[Arrival, ...]:
    first = random.Random(seed).randrange(frames)
    return tuple(Arrival(n % cameras, (first + n) % frames, due_s) for n, due_s in enumerate(moments))


def _in_order(arrivals: list[Arrival]) -> tuple[Arrival, ...]:
    return tuple(sorted(arrivals, key=lambda arrival: (arrival.due_s, arrival.camera)))


def _gaps(times_s: Sequence[float], fps: float) -> list[float]:
    """Seconds from each frame to the next, whose mean is 1 / fps; after the last one follows a mean gap."""
    steps = [max(0.0, after - before) for before, after in pairwise(times_s)]
    mean = sum(steps) / len(steps) if steps else 0.0
    if mean == 0.0:
        return [1 / fps] * len(times_s)
    return [step / mean / fps for step in [*steps, mean]]


def _count(span_s: float, fps: float) -> int:
    """How many of 0, 1/fps, 2/fps... lie before `span_s`; the hair keeps 150.0000001 from becoming 151."""
    return max(0, math.ceil(span_s * fps - 1e-9))
