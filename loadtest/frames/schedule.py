"""Decides when which camera sends which frame, before anything is sent: -> [Schedule] -> dispatch. Pure.

Every pattern is a function of its arguments and the seed; all draw exactly as many arrivals as were asked for, so that
a short run does not miss its rate by chance. Arrivals are made one at a time as they fall due: a day of a street's
cameras is 86 million of them.
"""

import heapq
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, cycle, islice, pairwise, takewhile, zip_longest
from operator import attrgetter


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


class Schedule(Iterable[Arrival]):
    """Arrivals in the order in which they fall due, made anew whenever they are gone through; equal if they all are.

    Args:
        make: makes them.
        count: their number, where it is known without making them.
    """

    def __init__(self, make: Callable[[], Iterator[Arrival]], count: Callable[[], int] | None = None) -> None:
        self._make = make
        self._count = count

    def __iter__(self) -> Iterator[Arrival]:
        return self._make()

    def __len__(self) -> int:
        return self._count() if self._count else sum(1 for _ in self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schedule):
            return NotImplemented
        return all(one == two for one, two in zip_longest(self, other))

    __hash__ = None  # type: ignore[assignment]

    def count_from(self, due_s: float) -> int:
        """How many fall due at this moment or later."""
        return len(self) - sum(1 for _ in takewhile(lambda arrival: arrival.due_s < due_s, self))


def cameras(*, cameras: int, fps: float, seconds: float, frames: int, seed: int) -> Schedule:
    """Cameras that each send at a constant rate, like real ones: not in step with each other.

    The cameras' first frames are spread over one frame period (shuffled, with a little jitter) and each camera enters
    the video at a place of its own, so neither the arrivals nor the pictures move in lockstep.

    Args:
        cameras: number of cameras.
        fps: frames per second of each.
        seconds: how long the run takes arrivals; none is due at or after it.
        frames: size of the frame set; cameras go round it.
        seed: the same seed gives the same schedule.
    """
    draw = random.Random(seed)
    slots = draw.sample(range(cameras), cameras)
    # All offsets lie within one frame period, so their order is that of every round.
    starts = sorted(
        ((slot + draw.random() / 2) / (cameras * fps), camera, draw.randrange(frames))
        for camera, slot in enumerate(slots)
    )
    rounds = [_count(seconds - offset_s, fps) for offset_s, _, _ in starts]

    def make() -> Iterator[Arrival]:
        for n in range(max(rounds)):
            for (offset_s, camera, first), count in zip(starts, rounds, strict=True):
                if n < count:
                    yield Arrival(camera, (first + n) % frames, offset_s + n / fps)

    return Schedule(make, lambda: sum(rounds))


def timestamps(*, cameras: int, fps: float, seconds: float, times_s: Sequence[float], seed: int) -> Schedule:
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
    starts = [(draw.randrange(len(gaps_s)), draw.random() / fps) for _ in range(cameras)]

    def moments(first: int, begin_s: float) -> Iterator[float]:
        rhythm = islice(cycle(gaps_s), first, None)
        return takewhile(lambda due_s: due_s < seconds, accumulate(rhythm, initial=begin_s))

    def one(camera: int) -> Iterator[Arrival]:
        first, begin_s = starts[camera]
        for n, due_s in enumerate(moments(first, begin_s)):
            yield Arrival(camera, (first + n) % len(gaps_s), due_s)

    return Schedule(
        lambda: heapq.merge(*map(one, range(cameras)), key=attrgetter("due_s", "camera")),
        lambda: sum(1 for start in starts for _ in moments(*start)),
    )


def constant(*, cameras: int, fps: float, seconds: float, frames: int, seed: int) -> Schedule:
    """One arrival every 1 / (cameras x fps) seconds, the cameras in turn."""
    rate = cameras * fps
    count = _count(seconds, rate)
    return _in_turn(lambda: (n / rate for n in range(count)), count, cameras, frames, seed)


def poisson(*, cameras: int, fps: float, seconds: float, frames: int, seed: int) -> Schedule:
    """Independent clients: a Poisson process of cameras x fps arrivals per second.

    Given their number, the arrivals of a Poisson process are independent and uniform over the span (Ross, Stochastic
    Processes, theorem 2.3.1). The number is fixed at its mean and the moments are drawn so, in rising order: the first
    of k uniform moments leaves a part of the span behind it that is the k-th root of a uniform number (Bentley and
    Saxe, Generating sorted lists of random numbers, 1980).
    """
    count = round(cameras * fps * seconds)

    def moments() -> Iterator[float]:
        draw, due_s = random.Random(seed), 0.0
        for left in range(count, 0, -1):
            due_s -= (seconds - due_s) * math.expm1(math.log(1.0 - draw.random()) / left)
            yield min(due_s, math.nextafter(seconds, 0.0))

    return _in_turn(moments, count, cameras, frames, seed)


def bursts(*, cameras: int, fps: float, seconds: float, frames: int, seed: int, burst: int) -> Schedule:
    """`burst` arrivals at one moment, then nothing, so that the mean is cameras x fps per second."""
    rate = cameras * fps
    count = _count(seconds, rate)
    return _in_turn(lambda: (n // burst * burst / rate for n in range(count)), count, cameras, frames, seed)


def nothing() -> Schedule:
    """No arrival at all."""
    return Schedule(lambda: iter(()), lambda: 0)


def one_after_another(parts: Sequence[tuple[float, Schedule]]) -> Schedule:
    """Schedules that each begin at a moment of their own, in seconds; none reaches into the next one's time."""

    def make() -> Iterator[Arrival]:
        return chain.from_iterable(_later(began_s, part) for began_s, part in parts)

    return Schedule(make, lambda: sum(len(part) for _, part in parts))


def shard(arrivals: Iterable[Arrival], cameras: int, part: int, parts: int) -> Schedule:
    """One generator's part of a schedule; the parts together are the whole.

    A camera stays in one part, for its frames wait for each other; with fewer cameras than parts the arrivals are dealt
    out in turn.
    """
    if cameras >= parts:
        return Schedule(lambda: (arrival for arrival in arrivals if arrival.camera % parts == part))
    return Schedule(lambda: islice(arrivals, part, None, parts))


def _later(began_s: float, arrivals: Schedule) -> Iterator[Arrival]:
    return (Arrival(one.camera, one.frame, one.due_s + began_s) for one in arrivals) if began_s else iter(arrivals)


def _in_turn(moments: Callable[[], Iterator[float]], count: int, cameras: int, frames: int, seed: int) -> Schedule:
    first = random.Random(seed).randrange(frames)

    def make() -> Iterator[Arrival]:
        return (Arrival(n % cameras, (first + n) % frames, due_s) for n, due_s in enumerate(moments()))

    return Schedule(make, lambda: count)


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
