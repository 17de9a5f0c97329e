"""Networks in plain NumPy, one cell of 8 x 8 px at a time, and what any engine must make of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]

SIZE = (32, 48)
CELL = 8
CELLS = (SIZE[0] // CELL) * (SIZE[1] // CELL)
CLASSES = ("red", "green", "blue")
PLUGIN_ROWS = 1000


def pictures(count: int, seed: int = 3) -> Frames:
    """Frames whose cells differ by far more than any rounding."""
    tints = np.random.default_rng(seed).integers(0, 256, (count, SIZE[0] // CELL, SIZE[1] // CELL, 3), dtype=np.uint8)
    return tints.repeat(CELL, axis=1).repeat(CELL, axis=2)


def cells(planes: npt.NDArray[np.floating]) -> Floats:
    """RGB 0..1, float [n, 3, h, w] -> rows float32 [n, cells, 4 + 1 + 3]: cx, cy, w, h, objectness, class scores."""
    count = len(planes)
    rows, columns = SIZE[0] // CELL, SIZE[1] // CELL
    means = planes.astype(np.float32).reshape(count, 3, rows, CELL, columns, CELL).mean(axis=(3, 5))
    red, green, blue = (means[:, channel].reshape(count, -1) for channel in range(3))
    y, x = np.mgrid[:rows, :columns].reshape(2, -1)[:, None].repeat(count, axis=1)
    boxes = [(x + 0.5) * CELL, (y + 0.5) * CELL, CELL + 10 * red, CELL + 20 * green]
    return np.stack([*boxes, 0.5 + blue / 2, red, green, blue], axis=2).astype(np.float32)


def frames_to_planes(frames: npt.NDArray[np.uint8]) -> Floats:
    return np.float32(1 / 255) * frames[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)


def expected(frames: npt.NDArray[np.uint8], *, objectness: bool = True) -> list[list[tuple[float, ...]]]:
    """Candidates of each frame, highest score first, worked out row by row: x1, y1, x2, y2, score, class."""
    answers = []
    for rows in cells(frames_to_planes(frames)).tolist():
        found = []
        for cx, cy, w, h, object_score, *scores in rows:
            best = max(range(len(scores)), key=lambda index: scores[index])
            score = scores[best] * (object_score if objectness else 1.0)
            found.append((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, score, float(best)))
        answers.append(sorted(found, key=lambda row: -row[4]))
    return answers


def assert_found(found: Floats, frames: Frames, *, objectness: bool = True, tolerance: float = 1e-3) -> None:
    wanted = expected(frames, objectness=objectness)
    assert (found.dtype, len(found), found.shape[2]) == (np.float32, len(frames), 6)
    for rows, wanted_rows in zip(found, wanted, strict=True):
        np.testing.assert_allclose(rows[: len(wanted_rows)], wanted_rows, atol=tolerance)
        assert not rows[len(wanted_rows) :, 4].any()


def _serving(frames: npt.NDArray[np.uint8]) -> dict[str, Floats]:
    return {"candidates": np.array(expected(frames), np.float32)}


def _yolov5(planes: Floats) -> dict[str, Floats]:
    return {"output0": cells(planes)}


def _yolov8(planes: Floats) -> dict[str, Floats]:
    return {"output0": np.delete(cells(planes), 4, axis=2).transpose(0, 2, 1)}


def _yolov5_with_maps(planes: Floats) -> dict[str, Floats]:
    return {"map": np.zeros((len(planes), 3, 4, 6, 8), np.float32), "output": cells(planes)}


def plugin_output(planes: Floats, columns: int, uncounted: float = np.nan) -> Floats:
    """What the tensorrtx plugin writes: a count, rows in no order, and garbage behind them."""
    answers = np.full((len(planes), 1 + PLUGIN_ROWS * columns), uncounted, np.float32)
    for answer, rows in zip(answers, cells(planes), strict=True):
        shuffled = rows[np.random.default_rng(1).permutation(len(rows))]
        answer[0] = len(rows)
        body = answer[1:].reshape(PLUGIN_ROWS, columns)[: len(rows)]
        body[:] = 0
        body[:, :4] = shuffled[:, :4]
        body[:, 4] = shuffled[:, 4] * shuffled[:, 5:].max(axis=1)
        body[:, 5] = shuffled[:, 5:].argmax(axis=1)
    return answers


NETWORKS: Mapping[str, Callable[..., dict[str, Floats]]] = {
    "serving": _serving,
    "yolov5": _yolov5,
    "yolov5 with maps": _yolov5_with_maps,
    "yolov8": _yolov8,
    "tensorrtx 6": lambda planes: {"prob": plugin_output(planes, 6)},
    "tensorrtx 38": lambda planes: {"prob": plugin_output(planes, 38)},
}
