"""The layouts of the models' outputs.

detect, for n pictures of which the fullest has k boxes (the others are padded with zeros and empty labels, `count` says
how many are real, best first): count INT32 [n], boxes FP32 [n, k, 4] x1, y1, x2, y2 in pixels of the picture, scores
FP32 [n, k], classes INT32 [n, k], labels BYTES [n, k].

yolov5: output0 FP32 [n, k, 5 + classes]: cx, cy, w, h in input pixels, objectness, class scores, as YOLOv5's own NMS
reads it. The serving graph keeps the best k candidates of a frame and each one's best class, so rows are made up again:
objectness is the candidate's score, its class scores are 1 for its class and 0 for the others, whose product is the
score. Rows that are padding are zeros.
"""

from collections.abc import Sequence

import numpy as np

from service.engines import Candidates
from service.pipeline.boxes import Boxes
from service.protocols.oip.tensors import OutputTensor


def boxes_as_tensors(found: Sequence[Boxes], classes: tuple[str, ...]) -> tuple[OutputTensor, ...]:
    """Pads the boxes of n pictures to the fullest one."""
    shape = (len(found), max(len(boxes) for boxes in found))
    corners, scores = np.zeros((*shape, 4), np.float32), np.zeros(shape, np.float32)
    class_ids, labels = np.zeros(shape, np.int32), np.full(shape, "", object)
    for row, boxes in enumerate(found):
        corners[row, : len(boxes)] = boxes.corners
        scores[row, : len(boxes)] = boxes.scores
        class_ids[row, : len(boxes)] = boxes.class_ids
        labels[row, : len(boxes)] = [classes[class_id] for class_id in boxes.class_ids]
    return (
        OutputTensor("count", "INT32", np.array([len(boxes) for boxes in found], np.int32)),
        OutputTensor("boxes", "FP32", corners),
        OutputTensor("scores", "FP32", scores),
        OutputTensor("classes", "INT32", class_ids),
        OutputTensor("labels", "BYTES", labels),
    )


def candidates_as_yolov5(candidates: Candidates, classes: int) -> Candidates:
    """Makes YOLOv5 rows of candidates.

    Args:
        candidates: float32 [n, k, 6] x1, y1, x2, y2, score, class; padded with score 0.
        classes: how many classes the model has.

    Returns:
        float32 [n, k, 5 + classes].
    """
    rows = np.zeros((*candidates.shape[:2], 5 + classes), np.float32)
    rows[..., :2] = (candidates[..., :2] + candidates[..., 2:4]) / 2
    rows[..., 2:4] = candidates[..., 2:4] - candidates[..., :2]
    rows[..., 4] = candidates[..., 4]
    np.put_along_axis(rows[..., 5:], candidates[..., 5:].astype(np.intp), 1, axis=2)
    rows[candidates[..., 4] == 0] = 0
    return rows
