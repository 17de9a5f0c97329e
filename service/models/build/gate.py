"""The accuracy gate: whether a built engine finds the boxes that the serving graph finds in ONNX Runtime.

Flow: candidates of both for the same frames -> compare [Agreement] -> `Agreement.refusal` decides what is installed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.pipeline.boxes import Boxes, Selection, overlaps, select

Floats = npt.NDArray[np.float32]

CONF = 0.35
IOU = 0.4
SAME_BOX_IOU = 0.9
SAME_BOX_PX = 1.0
SCORE_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two engines agree on the same frames.

    Attributes:
        frames: frames compared.
        boxes: boxes of both engines together.
        matched: those with a partner: the same class, a score within 0.05, and an IoU of at least 0.9 or every corner
            within 1 px (rounding alone lowers the IoU of a small box).
        worst_score: largest difference of two partners' scores, 0 to 1.
        worst_shift_px: largest distance between two partners' corners along one axis, letterboxed pixels.
    """

    frames: int
    boxes: int
    matched: int
    worst_score: float
    worst_shift_px: float

    @property
    def share(self) -> float:
        """Part of the boxes that have a partner, 0 to 1."""
        return self.matched / self.boxes if self.boxes else 0.0

    def refusal(self, least: float) -> str | None:
        """Why an engine with this agreement must not serve; None when it may.

        Args:
            least: share of the boxes that must have a partner, 0 to 1.
        """
        if not self.boxes:
            return (
                f"accuracy: the model finds nothing in the {self.frames} calibration frames, so nothing can be "
                "compared; pass --frames with pictures or a video of what it detects"
            )
        if self.share < least:
            return f"accuracy: {self}; at least {least:.1%} is needed, nothing was installed"
        return None

    def __str__(self) -> str:
        return (
            f"{self.matched} of {self.boxes} boxes agree with ONNX Runtime ({self.share:.1%}) over {self.frames} "
            f"frames; scores differ by {self.worst_score:.3f}, corners by {self.worst_shift_px:.2f} px at most"
        )


def compare(expected: Iterable[Floats], found: Iterable[Floats]) -> Agreement:
    """Compares two engines' answers to the same frames, in both directions.

    A box counts when its score exceeds 0.35 after NMS at IoU 0.4. Its partner is looked for down to 0.30, since a
    score that rounding moves across the threshold is no disagreement.

    Args:
        expected: one float32 [k, 6] per frame, see `Engine.infer`: the reference.
        found: likewise, from the engine under test.

    Raises:
        ValueError: one has more frames than the other.
    """
    frames = boxes = 0
    partners: list[tuple[float, float]] = []
    for reference, tested in zip(expected, found, strict=True):
        both = _visible(reference), _visible(tested)
        frames += 1
        for ours, theirs in (both, both[::-1]):
            counted = int((ours.scores > CONF).sum())
            boxes += counted
            partners += _partners(ours, theirs, counted)
    return Agreement(
        frames=frames,
        boxes=boxes,
        matched=len(partners),
        worst_score=max((score for score, _ in partners), default=0.0),
        worst_shift_px=max((shift for _, shift in partners), default=0.0),
    )


def _visible(candidates: Floats) -> Boxes:
    return select(candidates, Selection(conf=CONF - SCORE_TOLERANCE, iou=IOU))


def _partners(ours: Boxes, theirs: Boxes, counted: int) -> list[tuple[float, float]]:
    """Score difference and corner distance for each of the first `counted` boxes that has a partner."""
    if not len(theirs):
        return []
    corners = ours.corners[:counted]
    shifts = np.abs(corners[:, None] - theirs.corners).max(axis=2)
    gaps = np.abs(ours.scores[:counted, None] - theirs.scores)
    alike = (overlaps(corners.T[:, :, None], theirs.corners.T[:, None]) >= SAME_BOX_IOU) | (shifts <= SAME_BOX_PX)
    alike &= (gaps <= SCORE_TOLERANCE) & (ours.class_ids[:counted, None] == theirs.class_ids)
    rows = np.flatnonzero(alike.any(axis=1))
    partners = np.where(alike, shifts, np.inf)[rows].argmin(axis=1)
    return [(float(gaps[at]), float(shifts[at])) for at in zip(rows, partners, strict=True)]
