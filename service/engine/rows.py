"""The layouts of engines built elsewhere, on the host: frames to their input, their output rows to candidates.

Serving graphs have both steps inside. Pure functions over whole batches.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.model.manifest import Layout

Floats = npt.NDArray[np.float32]

CANDIDATE_COLUMNS = 6
"""x1, y1, x2, y2, score, class."""

TOP_ROWS = 300
"""As many candidates as a serving graph gives."""

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
        output: float32 or float16, batch first, of a shape that `fits`.

    Returns:
        float32 [n, k, 6]: see `Engine.infer`; memory of its own; highest score first.
    """
    rows = output.astype(np.float32)
    if layout == "serving":
        return rows
    if layout == "tensorrtx":
        return np.stack([_counted(frame) for frame in rows.reshape(len(rows), -1)])
    return np.stack([_best(frame if layout == "yolov5" else frame.T, BOX_COLUMNS[layout]) for frame in rows])


def _best(rows: Floats, box_columns: int) -> Floats:
    """One frame's best candidates.

    Args:
        rows: float32 [anchors, box_columns + classes]: cx, cy, w, h, objectness where there is one, class scores.
        box_columns: 5 with objectness, 4 without.

    Returns:
        float32 [min(anchors, 300), 6], highest score first; among equals the earlier row.
    """
    class_scores = rows[:, box_columns:]
    scores = class_scores.max(axis=1)
    if box_columns == BOX_COLUMNS["yolov5"]:
        scores = scores * rows[:, 4]
    order = np.argsort(-scores, kind="stable")[:TOP_ROWS]
    classes = class_scores[order].argmax(axis=1).astype(np.float32)
    return np.column_stack([_corners(rows[order, :4]), scores[order], classes])


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
