"""Turns an engine's candidates into detections: threshold, NMS, and back to the picture's own pixels."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.pictures.image import Letterbox

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which candidates become detections.

    `conf`: score that must be exceeded; `iou`: overlap above which the lower score is suppressed; `agnostic`: NMS over
    all classes together; `max_det`: detections at most; `classes`: class ids to keep, None for all.
    """

    conf: float
    iou: float
    agnostic: bool = False
    max_det: int = 300
    classes: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """One detection in plain numbers: `corners` x1, y1, x2, y2 in pixels, `score` 0 to 1, `class_id`."""

    corners: tuple[float, ...]
    score: float
    class_id: int


@dataclass(frozen=True, slots=True)
class Boxes:
    """Detections of one picture, highest score first.

    `corners`: float32 [n, 4] x1, y1, x2, y2; `scores`: float32 [n]; `class_ids`: int64 [n].
    """

    corners: Floats
    scores: Floats
    class_ids: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Box]:
        rows = zip(self.corners.tolist(), self.scores.tolist(), self.class_ids.tolist(), strict=True)
        return (Box(tuple(corners), score, class_id) for corners, score, class_id in rows)


def select(candidates: Floats, selection: Selection) -> Boxes:
    """Applies the threshold, the class filter and NMS.

    Args:
        candidates: float32 [k, 6] x1, y1, x2, y2, score, class; padded with score 0.
        selection: the rules.

    Returns:
        Boxes in the candidates' own pixels.
    """
    kept = candidates[candidates[:, 4] > np.float32(selection.conf)]
    if selection.classes is not None:
        kept = kept[np.isin(kept[:, 5], list(selection.classes))]
    if len(kept) > 1:
        kept = kept[np.argsort(-kept[:, 4], kind="stable")]
        kept = kept[nms(kept, selection.iou, agnostic=selection.agnostic)]
    kept = kept[: selection.max_det]
    return Boxes(kept[:, :4], kept[:, 4], kept[:, 5].astype(np.int64))


def nms(ordered: Floats, iou: float, *, agnostic: bool) -> Rows:
    """Greedy non-maximum suppression: the best box stays and silences what overlaps it by more than `iou`.

    Source: Felzenszwalb et al., "Object Detection with Discriminatively Trained Part-Based Models" (2010), section 3.2.

    Args:
        ordered: float32 [n, 6], highest score first.
        iou: intersection over union, 0 to 1, above which the lower score goes.
        agnostic: whether boxes of different classes silence one another.

    Returns:
        Row numbers that stay, ascending.
    """
    if len(ordered) < 2:  # noqa: PLR2004  # there is no other
        return np.arange(len(ordered))
    better, worse = _rivals(ordered, iou, agnostic=agnostic)
    stays = np.ones(len(ordered), bool)
    while True:  # each round is right about one more link of every chain of boxes that silence one another
        left = np.ones(len(ordered), bool)
        left[worse[stays[better]]] = False
        if np.array_equal(left, stays):
            return np.flatnonzero(stays)
        stays = left


def _rivals(ordered: Floats, iou: float, *, agnostic: bool) -> tuple[Rows, Rows]:
    """The pairs of which one box silences the other while it stays: row numbers of the better ones, and the worse."""
    x1, y1, x2, y2, _, class_ids = columns = np.ascontiguousarray(ordered.T)
    touch = (x1[:, None] < x2) & (y1[:, None] < y2)
    touch &= touch.T
    if not agnostic:
        touch &= class_ids[:, None] == class_ids
    row = np.arange(len(ordered))
    touch &= row[:, None] < row
    better, worse = np.nonzero(touch)  # few of all pairs, most often
    silences = overlaps(columns[:4].take(better, axis=1), columns[:4].take(worse, axis=1)) > np.float32(iou)
    return better[silences], worse[silences]


def unletterbox(boxes: Boxes, letterbox: Letterbox, *, clip: bool) -> Boxes:
    """Moves boxes from the model's input back to the picture's pixels.

    Args:
        boxes: in letterboxed pixels.
        letterbox: how the picture was put there.
        clip: whether corners outside the picture are moved onto its edge.
    """
    if not len(boxes):
        return boxes
    padding = np.array([letterbox.pad_x, letterbox.pad_y] * 2, np.float32)
    corners = boxes.corners - padding
    corners /= np.float32(letterbox.scale)
    if clip:  # by hand: np.clip takes as long as all the rest
        np.maximum(corners, 0, out=corners)
        np.minimum(corners, np.array([letterbox.width, letterbox.height] * 2, np.float32), out=corners)
    return Boxes(corners, boxes.scores, boxes.class_ids)


def overlaps(ours: Floats, theirs: Floats) -> Floats:
    """Intersection over union, pair by pair; an empty box overlaps nothing.

    Args:
        ours: float32 [4, ...] x1, y1, x2, y2.
        theirs: float32 [4, ...], of a shape that broadcasts with ours.

    Returns:
        float32 [...], 0 to 1.
    """
    (x1, y1, x2, y2), (u1, v1, u2, v2) = ours, theirs
    shared = _sides(np.maximum(x1, u1), np.minimum(x2, u2))
    shared *= _sides(np.maximum(y1, v1), np.minimum(y2, v2))
    union = _sides(x1, x2) * _sides(y1, y2) + _sides(u1, u2) * _sides(v1, v2) - shared
    union[union <= 0] = 1  # both are empty
    shared /= union
    return shared


def _sides(low: Floats, high: Floats) -> Floats:
    sides: Floats = high - low
    return np.maximum(sides, 0, out=sides)
