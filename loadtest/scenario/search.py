"""Searches the highest rate that a service holds: rate -> held or not. Pure, the trial is an argument."""

from collections.abc import Callable

GROWTH = 2.0
# Two rates are told apart by this factor at best; a finer answer would be noise.
RESOLUTION = 1.05
MOST_DOUBLINGS = 14
# Below it a step of some seconds has no frame to judge.
LEAST_FPS = 0.25


def highest(first_fps: float, holds: Callable[[float], bool]) -> float:
    """Doubles the rate until it is too high (or halves it until it is not), then halves the gap, in ratios.

    Args:
        first_fps: where to begin.
        holds: makes a step at a rate and tells whether the service held it.

    Returns:
        The highest rate that was held; 0 if none from `LEAST_FPS` on was.
    """
    low_fps, high_fps = _bracket(first_fps, holds)
    while low_fps and high_fps / low_fps > RESOLUTION:
        middle_fps = (low_fps * high_fps) ** 0.5
        if holds(middle_fps):
            low_fps = middle_fps
        else:
            high_fps = middle_fps
    return low_fps


def _bracket(first_fps: float, holds: Callable[[float], bool]) -> tuple[float, float]:
    """A rate that was held and one that was not; the first is 0 if there is none, and both are equal if all held."""
    fps = first_fps
    if holds(fps):
        for _ in range(MOST_DOUBLINGS):
            if not holds(fps * GROWTH):
                return fps, fps * GROWTH
            fps *= GROWTH
        return fps, fps
    while fps / GROWTH >= LEAST_FPS:
        if holds(fps / GROWTH):
            return fps / GROWTH, fps
        fps /= GROWTH
    return 0.0, fps
