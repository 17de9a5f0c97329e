"""The one rule of when two answers to a picture are the same: each detection has its own partner in the other."""

from collections.abc import Sequence
from dataclasses import dataclass

from framefleet.wire.answers import Detection

# Scores and boxes come rounded to decimals that floats cannot hold: 0.36 - 0.35 is a hair above 0.01.
HAIR = 1e-9


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an answer may be from another and still be the same.

    A batch of another size adds floats in another order, so the last digits differ; next to the threshold that alone
    decides whether a detection is reported.

    Attributes:
        box_px: largest difference of a box's corner coordinate, in pixels.
        score: largest difference of a score, and how near to the threshold a detection may come or go.
        threshold: the service's confidence threshold.
    """

    box_px: float = 1.0
    score: float = 0.01
    threshold: float = 0.35


def same(one: Sequence[Detection], other: Sequence[Detection], tolerance: Tolerance) -> bool:
    """Whether both hold as many detections, and each has its own partner in the other."""
    return len(one) == len(other) == len(pair(one, other, tolerance))


def pair(expected: Sequence[Detection], got: Sequence[Detection], tolerance: Tolerance) -> dict[int, int]:
    """The largest pairing of detections that are the same within the tolerance (augmenting paths, Kuhn 1955).

    Returns:
        From index in `got` to index in `expected`.
    """
    partners: dict[int, int] = {}

    def place(index: int, tried: set[int]) -> bool:
        for other, candidate in enumerate(got):
            if other not in tried and alike(expected[index], candidate, tolerance):
                tried.add(other)
                if other not in partners or place(partners[other], tried):
                    partners[other] = index
                    return True
        return False

    for index in range(len(expected)):
        place(index, set())
    return partners


def alike(one: Detection, other: Detection, tolerance: Tolerance) -> bool:
    """Whether two detections are the same: class, score and every corner."""
    return (
        (one.class_id, one.label) == (other.class_id, other.label)
        and abs(one.score - other.score) <= tolerance.score + HAIR
        and all(abs(p - q) <= tolerance.box_px + HAIR for p, q in zip(one.box, other.box, strict=True))
    )
