"""The layouts of engines built elsewhere, on the host: frames to their input, their output rows to candidates.

Serving graphs have both steps inside. Pure functions over whole batches.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from framefleet.wire.manifest import Layout

Floats = npt.NDArray[np.float32]

CANDIDATE_COLUMNS = 6
"""x1, y1, x2, y2, score, class."""

TOP_ROWS = 300
"""As many candidates as a serving graph gives."""

SURELY_SEEN = 4 * TOP_ROWS
"""Rows of the highest objectness whose scores are worked out first."""

TENSORRTX_ROWS = 1000
BOX_COLUMNS = {"yolov5": 5, "yolov8": 4}  # box, and objectness where there is one


@dataclass(frozen=True, slots=True)
class FrameShape:
    """The input tensor's shape for one frame: `height`, `width` in pixels, `planar` where colours come first."""

    height: int
    width: int
    planar: bool

    def of(self, frames: int) -> tuple[int, ...]:
        """The input tensor's shape for so many frames."""
        size = (self.height, self.width)
        return (frames, 3, *size) if self.planar else (frames, *size, 3)


def frame_shape(layout: Layout, shape: tuple[int, ...]) -> FrameShape | None:
    """What an input tensor of this shape takes; None where it is not the layout's input.

    Args:
        layout: the engine's.
        shape: of the input tensor, batch first; -1 for what is not fixed.
    """
    if len(shape) != 4:  # noqa: PLR2004  # batch, height, width, colours in some order
        return None
    planar = layout != "serving"
    colours, (height, width) = (shape[1], shape[2:]) if planar else (shape[3], shape[1:3])
    return FrameShape(height, width, planar) if colours == 3 and min(height, width) > 0 else None  # noqa: PLR2004


def fits(layout: Layout, shape: tuple[int, ...], classes: int) -> bool:
    """Whether an output tensor of this shape is the layout's.

    Args:
        layout: the engine's.
        shape: of the output tensor for a given number of frames, batch first.
        classes: how many the model has.
    """
    if layout == "tensorrtx":
        columns, rest = divmod(int(np.prod(shape[1:])) - 1, TENSORRTX_ROWS)
        return rest == 0 and columns >= CANDIDATE_COLUMNS
    wanted = {
        "serving": (2, CANDIDATE_COLUMNS),
        "yolov5": (2, BOX_COLUMNS["yolov5"] + classes),
        "yolov8": (1, BOX_COLUMNS["yolov8"] + classes),
    }
    axis, columns = wanted[layout]
    return len(shape) == 3 and shape[axis] == columns  # noqa: PLR2004


def to_planes(frames: npt.NDArray[np.uint8], scale: float, out: npt.NDArray[Any]) -> None:
    """Writes frames as the network takes them: BGR to RGB, colours first, scaled.

    Args:
        frames: uint8 [n, h, w, 3] BGR.
        scale: multiplied onto the 0..255 pixel values.
        out: float32 or float16 [n, 3, h, w], written whole.
    """
    for plane in range(3):
        np.multiply(frames[..., 2 - plane], np.float32(scale), out=out[:, plane], casting="same_kind")


def to_candidates(layout: Layout, output: npt.NDArray[Any]) -> Floats:
    """Turns an engine's output into candidates.

    Args:
        layout: the engine's.
        output: float32 or float16, batch first, of a shape that `fits`; objectness and class scores are 0 to 1.

    Returns:
        float32 [n, k, 6]: see `Engine.infer`; memory of its own; highest score first.
    """
    if layout == "serving":
        return output.astype(np.float32)
    if layout == "tensorrtx":
        return np.stack([_counted(frame) for frame in output.astype(np.float32).reshape(len(output), -1)])
    return np.stack([_best_of_v5(frame) if layout == "yolov5" else _best_of_v8(frame) for frame in output])


def _best_of_v5(rows: npt.NDArray[Any]) -> Floats:
    """One frame's best candidates: float [anchors, 5 + classes], as `to_candidates` takes them.

    Returns:
        float32 [min(anchors, 300), 6], highest score first; among equals the earlier row.
    """
    objectness = rows[:, 4].astype(np.float32)
    chosen = _that_may_be_best(rows, objectness)
    class_scores = rows[chosen, 5:].astype(np.float32)
    scores = class_scores.max(axis=1) * objectness[chosen]
    best = _highest(scores)
    return _candidates(rows[chosen[best], :4].astype(np.float32), scores[best], class_scores[best].argmax(axis=1))


def _that_may_be_best(rows: npt.NDArray[Any], objectness: Floats) -> npt.NDArray[np.intp]:
    """The rows that may be among the best, ascending: a class score is at most 1, so no score exceeds its objectness.

    Rows of high objectness say how high the last of the best is at least. All rows where that says too little.
    """
    if len(rows) > SURELY_SEEN:
        seen = np.argpartition(-objectness, SURELY_SEEN)[:SURELY_SEEN]
        scores = rows[seen, 5:].astype(np.float32).max(axis=1) * objectness[seen]
        least = scores[_highest(scores)[-1]]
        chosen = np.flatnonzero(objectness >= least)
        if least > 0 and len(chosen) >= TOP_ROWS:  # neither holds where numbers are none
            return chosen
    return np.arange(len(rows))


def _best_of_v8(columns: npt.NDArray[Any]) -> Floats:
    """One frame's best candidates: float [4 + classes, anchors], as `to_candidates` takes them; see `_best_of_v5`."""
    columns = columns.astype(np.float32, copy=False)
    scores = columns[4:].max(axis=0)
    best = _highest(scores)
    return _candidates(columns[:4, best].T, scores[best], columns[4:, best].argmax(axis=0))


def _highest(scores: Floats) -> npt.NDArray[np.intp]:
    """Where the highest 300 are, highest first; among equals the earlier."""
    falling = -scores
    if len(scores) > TOP_ROWS:
        near = np.flatnonzero(falling <= np.partition(falling, TOP_ROWS - 1)[TOP_ROWS - 1])
        if len(near) >= TOP_ROWS:  # else too many are no numbers
            return near[np.argsort(falling[near], kind="stable")[:TOP_ROWS]]
    return np.argsort(falling, kind="stable")[:TOP_ROWS]


def _candidates(boxes: Floats, scores: Floats, classes: npt.NDArray[np.intp]) -> Floats:
    return np.column_stack([_corners(boxes), scores, classes.astype(np.float32)])


def _counted(floats: Floats) -> Floats:
    """One frame's rows of the tensorrtx plugin.

    The plugin counts every box it finds, also those past its last row, writes rows in no order, and leaves what is
    behind the counted ones as it was.

    Args:
        floats: float32 [1 + 1000 * columns]: a count, then rows of cx, cy, w, h, score, class and what a
            segmentation model adds.

    Returns:
        float32 [1000, 6], highest score first, zeros behind.
    """
    count = int(np.clip(np.nan_to_num(floats[0]), 0, TENSORRTX_ROWS))
    rows = floats[1:].reshape(TENSORRTX_ROWS, -1)[:count]
    order = np.argsort(-rows[:, 4], kind="stable")
    candidates = np.zeros((TENSORRTX_ROWS, CANDIDATE_COLUMNS), np.float32)
    candidates[:count] = np.column_stack([_corners(rows[order, :4]), rows[order, 4:6]])
    return candidates


def _corners(boxes: Floats) -> Floats:
    """Centre, width and height to corners: float32 [n, 4] -> float32 [n, 4]."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
