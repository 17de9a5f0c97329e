"""Turns an engine's candidates into detections: threshold, NMS, and back to the picture's own pixels."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.image import Letterbox

Floats = npt.NDArray[np.float32]


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
    kept = kept[np.argsort(-kept[:, 4], kind="stable")]
    kept = kept[nms(kept, selection.iou, agnostic=selection.agnostic)][: selection.max_det]
    return Boxes(kept[:, :4], kept[:, 4], kept[:, 5].astype(np.int64))


def nms(ordered: Floats, iou: float, *, agnostic: bool) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression: the best box stays and silences what overlaps it by more than `iou`.

    Source: Felzenszwalb et al., "Object Detection with Discriminatively Trained Part-Based Models" (2010), section 3.2.

    Args:
        ordered: float32 [n, 6], highest score first.
        iou: intersection over union, 0 to 1, above which the lower score goes.
        agnostic: whether boxes of different classes silence one another.

    Returns:
        Row numbers that stay, ascending.
    """
    if len(ordered) == 0:
        return np.empty(0, np.intp)
    silences = overlaps(ordered[:, :4], ordered[:, :4]) > np.float32(iou)
    if not agnostic:
        silences &= ordered[:, 5, None] == ordered[None, :, 5]
    stays = np.ones(len(ordered), bool)
    for row in range(len(ordered) - 1):
        if stays[row]:
            stays[row + 1 :] &= ~silences[row, row + 1 :]
    return np.flatnonzero(stays)


def unletterbox(boxes: Boxes, letterbox: Letterbox, *, clip: bool) -> Boxes:
    """Moves boxes from the model's input back to the picture's pixels.

    Args:
        boxes: in letterboxed pixels.
        letterbox: how the picture was put there.
        clip: whether corners outside the picture are moved onto its edge.
    """
    padding = np.array([letterbox.pad_x, letterbox.pad_y] * 2, np.float32)
    corners = (boxes.corners - padding) / np.float32(letterbox.scale)
    if clip:
        corners = np.clip(corners, 0, np.array([letterbox.width, letterbox.height] * 2, np.float32))
    return Boxes(corners, boxes.scores, boxes.class_ids)


def overlaps(ours: Floats, theirs: Floats) -> Floats:
    """Intersection over union of every pair; an empty box overlaps nothing.

    Args:
        ours: float32 [n, 4] x1, y1, x2, y2.
        theirs: float32 [m, 4].

    Returns:
        float32 [n, m], 0 to 1.
    """
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    union = _areas(ours)[:, None] + _areas(theirs) - shared
    found: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return found


def _areas(corners: Floats) -> Floats:
    sides = np.clip(corners[:, 2:] - corners[:, :2], 0, None)
    areas: Floats = sides[:, 0] * sides[:, 1]
    return areas
