"""The detection heads of YOLO networks in ONNX: YOLOv5's with anchors, and v8's without."""

import numpy as np

from tests.service.models.yolo_pen import Pen

STRIDES = (8, 16, 32)
ANCHORS_PX = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326)))
BINS = 16
"""Distances that v8's head weighs for each side of a box."""

_LOGIT_STD = 3.0
_RARE = -3.0
"""Mean logit of objectness, or of v8's class scores: most anchors see nothing, as in a trained network."""


class Head:
    """Writes one level of a head at a time.

    Args:
        pen: writes.
        batch: frames per run; 0 for any number.
        size: height and width of the network's input in px; None where they are free.
        classes: class scores per anchor.
        narrow: channels of the finest level's map.
    """

    def __init__(self, pen: Pen, *, batch: int, size: tuple[int, int] | None, classes: int, narrow: int) -> None:
        self._pen = pen
        self._batch = batch
        self._size = size
        self._classes = classes
        self._narrow = narrow

    def anchored(self, level: int, maps: str) -> str:
        """One level of YOLOv5's head: rows [n, 3 * cells, 5 + classes]."""
        name, columns, anchors = f"model.24.m.{level}", 5 + self._classes, len(ANCHORS_PX[level])
        bias = np.zeros((anchors, columns), np.float32)
        bias[:, 4] = _RARE
        logits = self._pen.convolution(name, maps, anchors * columns, std=_LOGIT_STD, bias=bias.ravel())
        grid, cells = self._grid(name, logits, level)
        split = self._reshape(name + "/split", logits, [anchors, columns], cells)
        turned = self._pen.add("Transpose", split, name=name + "/turned", perm=[0, 1, 3, 4, 2])
        unit = self._pen.add("Sigmoid", turned, name=name + "/unit")
        parts = [name + "/xy", name + "/wh", name + "/scores"]
        self._pen.split(unit, [2, 2, 1 + self._classes], parts, axis=4)
        doubled = self._pen.add("Mul", parts[0], self._pen.number(name + "/two", 2), name=name + "/xy2")
        shift = self._pen.add("Sub", grid, self._pen.number(name + "/half", 0.5), name=name + "/shift")
        moved = self._pen.add("Add", doubled, shift, name=name + "/moved")
        xy = self._pen.add("Mul", moved, self._pen.number(name + "/stride", STRIDES[level]), name=name + "/centre")
        doubled = self._pen.add("Mul", parts[1], self._pen.number(name + "/two_too", 2), name=name + "/wh2")
        squared = self._pen.add("Mul", doubled, doubled, name=name + "/squared")
        sides = np.array(ANCHORS_PX[level], self._pen.dtype).reshape(1, anchors, 1, 1, 2)
        wh = self._pen.add("Mul", squared, self._pen.constant(name + "/anchors", sides), name=name + "/box_size")
        row = self._pen.add("Concat", xy, wh, parts[2], name=name + "/row", axis=4)
        shape = self._pen.constant(name + "/rows_shape", np.array([self._batch, -1, columns]))
        return self._pen.add("Reshape", row, shape, name=name + "/rows")

    def anchor_free(self, level: int, maps: str) -> str:
        """One level of v8's head: columns [n, 4 + classes, cells]."""
        classes, narrow = self._classes, self._narrow
        box_wide, score_wide = max(16, narrow // 4, BINS * 4), max(narrow, min(classes, 100))
        x = self._pen.conv(f"model.24.cv2.{level}.0", maps, box_wide, kernel=3)
        x = self._pen.conv(f"model.24.cv2.{level}.1", x, box_wide, kernel=3)
        bins = self._pen.convolution(f"model.24.cv2.{level}.2", x, BINS * 4, std=_LOGIT_STD)
        x = self._pen.conv(f"model.24.cv3.{level}.0", maps, score_wide, kernel=3)
        x = self._pen.conv(f"model.24.cv3.{level}.1", x, score_wide, kernel=3)
        rare = np.full(classes, _RARE, np.float32)
        logits = self._pen.convolution(f"model.24.cv3.{level}.2", x, classes, std=_LOGIT_STD, bias=rare)
        name = f"model.24.level.{level}"
        distances = self._distances(name, bins)
        shape = self._pen.constant(name + "/score_shape", np.array([self._batch, classes, -1]))
        scores = self._pen.add(
            "Sigmoid", self._pen.add("Reshape", logits, shape, name=name + "/logits"), name=name + "/scores"
        )
        grid, _ = self._grid(name, bins, level)
        flat = self._pen.add(
            "Reshape", grid, self._pen.constant(name + "/flat", np.array([1, -1, 2])), name=name + "/flat_grid"
        )
        cells = self._pen.add("Transpose", flat, name=name + "/cells", perm=[0, 2, 1])
        centres = self._pen.add("Add", cells, self._pen.number(name + "/half", 0.5), name=name + "/cell_centres")
        parts = [name + "/left_top", name + "/right_bottom"]
        self._pen.split(distances, [2, 2], parts, axis=1)
        first = self._pen.add("Sub", centres, parts[0], name=name + "/first")
        last = self._pen.add("Add", centres, parts[1], name=name + "/last")
        both = self._pen.add("Add", first, last, name=name + "/both")
        middle = self._pen.add("Div", both, self._pen.number(name + "/two", 2), name=name + "/middle")
        size = self._pen.add("Sub", last, first, name=name + "/size")
        box = self._pen.add("Concat", middle, size, name=name + "/box", axis=1)
        pixels = self._pen.add("Mul", box, self._pen.number(name + "/stride", STRIDES[level]), name=name + "/pixels")
        return self._pen.add("Concat", pixels, scores, name=name + "/columns", axis=1)

    def _distances(self, name: str, bins: str) -> str:
        """Expected distance to each side in cells: [n, 4, cells]."""
        shape = self._pen.constant(name + "/bin_shape", np.array([self._batch, 4, BINS, -1]))
        split = self._pen.add("Reshape", bins, shape, name=name + "/bins")
        turned = self._pen.add("Transpose", split, name=name + "/turned", perm=[0, 2, 1, 3])
        share = self._pen.add("Softmax", turned, name=name + "/share", axis=1)
        values = np.arange(BINS, dtype=self._pen.dtype).reshape(1, BINS, 1, 1)
        self._pen.initialise(name + ".dfl.conv.weight", values)
        weighed = self._pen.add("Conv", share, name + ".dfl.conv.weight", name=name + "/weighed")
        flat = self._pen.constant(name + "/distance_shape", np.array([self._batch, 4, -1]))
        return self._pen.add("Reshape", weighed, flat, name=name + "/distances")

    def _grid(self, name: str, maps: str, level: int) -> tuple[str, str | tuple[int, int]]:
        """X and y of every cell, [1, 1, rows, columns, 2]; and rows and columns, as numbers or as a tensor."""
        if self._size is not None:
            cells = self._size[0] // STRIDES[level], self._size[1] // STRIDES[level]
            y, x = np.mgrid[0 : cells[0], 0 : cells[1]]
            return self._pen.constant(name + "/grid", np.stack((x, y), -1)[None, None].astype(self._pen.dtype)), cells
        shape = self._pen.add("Shape", maps, name=name + "/shape")
        numbers = {
            key: self._pen.add(
                "Gather", shape, self._pen.constant(f"{name}/{key}_axis", np.array(axis)), name=f"{name}/{key}", axis=0
            )
            for key, axis in {"rows_n": 2, "columns_n": 3}.items()
        }
        lines = []
        for key, axes in {"columns_n": [0, 2], "rows_n": [1, 2]}.items():
            zero, one = (self._pen.constant(f"{name}/{key}_{value}", np.array(value)) for value in (0, 1))
            steps = self._pen.add("Range", zero, numbers[key], one, name=f"{name}/{key}_steps")
            floats = self._pen.add("Cast", steps, name=f"{name}/{key}_floats", to=self._pen.element)
            at = self._pen.constant(f"{name}/{key}_axes", np.array(axes))
            lines.append(self._pen.add("Unsqueeze", floats, at, name=f"{name}/{key}_line"))
        first, last, end = (self._pen.constant(f"{name}/cut_{value}", np.array([value])) for value in (2, 4, 0))
        cells_shape = self._pen.add("Slice", shape, first, last, end, name=name + "/cells_shape")
        one = self._pen.constant(name + "/one", np.array([1]))
        line_shape = self._pen.add("Concat", cells_shape, one, name=name + "/line_shape", axis=0)
        planes = [self._pen.add("Expand", line, line_shape, name=line + "_plane") for line in lines]
        grid = self._pen.add("Concat", *planes, name=name + "/planes", axis=2)
        axes = self._pen.constant(name + "/front", np.array([0, 1]))
        return self._pen.add("Unsqueeze", grid, axes, name=name + "/grid"), cells_shape

    def _reshape(self, name: str, tensor: str, middle: list[int], cells: str | tuple[int, int]) -> str:
        """To [batch, *middle, rows, columns]; both cell counts from a tensor where the size is free."""
        if isinstance(cells, tuple):
            shape = self._pen.constant(name + "_shape", np.array([self._batch, *middle, *cells]))
        else:
            front = self._pen.constant(name + "_front", np.array([self._batch, *middle]))
            shape = self._pen.add("Concat", front, cells, name=name + "_shape", axis=0)
        return self._pen.add("Reshape", tensor, shape, name=name)
