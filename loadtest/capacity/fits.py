"""Estimates and fitted lines of a capacity measurement, records without a way of their own: -> [Capacity]."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate in frames/s with the bounds of its 95 % confidence interval."""

    low: float
    estimate: float
    high: float


@dataclass(frozen=True, slots=True)
class BatchPoint:
    """Batches of one size: how many were seen, and their mean time in the engine in ms."""

    size: int
    batches: int
    mean_ms: float


@dataclass(frozen=True, slots=True)
class BatchFit:
    """Time in the engine of a batch of n frames, fitted as `a_ms + b_ms * n`.

    Attributes:
        a_ms: cost of a batch.
        b_ms: cost of a frame.
        error_ms: root mean square distance of the batches from the line.
        points: what was seen, by size.
    """

    a_ms: float
    b_ms: float
    error_ms: float
    points: tuple[BatchPoint, ...]


@dataclass(frozen=True, slots=True)
class ScalePoint:
    """A fleet of so many instances and the frames/s it held."""

    instances: int
    fps: float


@dataclass(frozen=True, slots=True)
class Scaling:
    """Universal Scalability Law: `X(n) = one_fps * n / (1 + contention * (n - 1) + coherency * n * (n - 1))`.

    Attributes:
        one_fps: frames/s of one instance.
        contention: part of the work that is serialised.
        coherency: cost of instances keeping each other up to date.
        points: what it was fitted to, by number of instances.
        measured: how many different numbers of instances that was; below 2 the line is an assumption, not a fit.
        faster_than_linear: small fleets do less per instance than larger ones; they are left out of the line.
    """

    one_fps: float
    contention: float
    coherency: float
    points: tuple[ScalePoint, ...]
    measured: int
    faster_than_linear: bool

    def fps(self, instances: float) -> float:
        """What a fleet of that size holds, frames/s."""
        extra = self.contention * (instances - 1) + self.coherency * instances * (instances - 1)
        return self.one_fps * instances / (1 + extra)
