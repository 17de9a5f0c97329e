"""Decides how a network's rows are laid out: a pure function of its output's shape and of what else is known."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from framefleet.wire.errors import ModelError

BOX_COLUMNS = 4
"""cx, cy, w, h stand before everything else."""

_STRIDES = (4, 8, 16, 32, 64)
"""Strides of the feature maps that heads look at; a head uses some neighbours of these."""
_USUAL = {"yolov5": (1, 3), "yolov8": (2, 1)}
"""The axis that exporters put the anchors on, and anchors per cell."""


@dataclass(frozen=True, slots=True)
class RowLayout:
    """What a network's output means.

    Attributes:
        kind: `yolov5` rows have objectness between box and class scores, `yolov8` rows have not.
        anchor_axis: 1 for [n, anchors, columns], 2 for [n, columns, anchors].
        anchors: rows per frame.
        classes: class scores per row.
    """

    kind: Literal["yolov5", "yolov8"]
    anchor_axis: int
    anchors: int
    classes: int

    @property
    def first_score(self) -> int:
        """Column of the first class score."""
        return BOX_COLUMNS + (self.kind == "yolov5")

    @property
    def columns(self) -> int:
        """Values per row."""
        return self.first_score + self.classes

    @property
    def text(self) -> str:
        """The layout for people, such as `[n, 25200, 85]: box, objectness, 80 class scores`."""
        sizes = (self.anchors, self.columns) if self.anchor_axis == 1 else (self.columns, self.anchors)
        objectness = "objectness, " if self.kind == "yolov5" else ""
        return f"[n, {sizes[0]}, {sizes[1]}]: box, {objectness}{self.classes} class scores"


def decide_layout(sizes: tuple[int, int], input_size: tuple[int, int], classes: int | None) -> RowLayout:
    """Finds the one layout that fits.

    YOLOv5 heads give three rows a cell and v8 heads one, so the number of rows for the input size says which axis
    they are on; the number of class names says whether there is objectness.

    Args:
        sizes: the output's second and third axis.
        input_size: height and width of the network's input, px.
        classes: number of class names where they are known.

    Raises:
        ModelError: none fits, or more than one does; the message says what would decide.
    """
    possible = [layout for layout in _layouts(sizes) if layout.classes > 0 and classes in (None, layout.classes)]
    usual = [layout for layout in possible if _is_usual(layout, input_size)]
    for choice in (usual, possible):
        if len(choice) == 1:
            return choice[0]
    raise ModelError(_complaint(sizes, possible, classes))


def _layouts(sizes: tuple[int, int]) -> Iterator[RowLayout]:
    yield RowLayout("yolov5", 1, sizes[0], sizes[1] - BOX_COLUMNS - 1)
    yield RowLayout("yolov8", 1, sizes[0], sizes[1] - BOX_COLUMNS)
    yield RowLayout("yolov8", 2, sizes[1], sizes[0] - BOX_COLUMNS)


def _is_usual(layout: RowLayout, input_size: tuple[int, int]) -> bool:
    """Whether YOLOv5 or ultralytics writes this for that input size."""
    axis, per_cell = _USUAL[layout.kind]
    cells = {
        sum((input_size[0] // stride) * (input_size[1] // stride) for stride in _STRIDES[first:end])
        for first, end in combinations(range(len(_STRIDES) + 1), 2)
    }
    return layout.anchor_axis == axis and layout.anchors in {per_cell * count for count in cells}


def _complaint(sizes: tuple[int, int], possible: list[RowLayout], classes: int | None) -> str:
    shape = f"output: shape [n, {sizes[0]}, {sizes[1]}]"
    if classes is not None:
        return (
            f"{shape} does not fit {classes} class names: expected box + names, or box + objectness + names; "
            "give one name per class with --names, and export a detection model"
        )
    if not possible:
        return f"{shape} has no room for a box and class scores; export with the YOLOv5 or v8 detection head"
    readings = " or ".join(f"{layout.classes} classes ({layout.kind})" for layout in possible)
    return f"{shape} can be read as {readings}; give the class names with --names, which decides"
