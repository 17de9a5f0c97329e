"""Threshold, NMS and the way back to picture pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.boxes import Selection, nms, select, unletterbox
from service.image import Frame, Letterbox, letterbox

ONE = [0.0, 0.0, 10.0, 10.0]


def candidates(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 6)


def test_a_score_equal_to_the_threshold_is_not_enough() -> None:
    rows = candidates([*ONE, 0.35, 0], [20, 0, 30, 10, 0.3500001, 0])
    assert select(rows, Selection(conf=0.35, iou=0.4)).scores.tolist() == [np.float32(0.3500001)]


def test_padding_rows_of_score_zero_never_become_boxes_even_without_a_threshold() -> None:
    assert len(select(candidates([0, 0, 0, 0, 0, 0]), Selection(conf=0.0, iou=0.4))) == 0


def test_boxes_come_highest_score_first() -> None:
    rows = candidates([*ONE, 0.5, 0], [20, 0, 30, 10, 0.9, 0], [40, 0, 50, 10, 0.7, 0])
    assert select(rows, Selection(conf=0.3, iou=0.4)).scores.tolist() == pytest.approx([0.9, 0.7, 0.5])


@pytest.mark.parametrize(("agnostic", "left"), [(True, 1), (False, 2)], ids=["agnostic", "per class"])
def test_classes_silence_one_another_only_when_agnostic(agnostic: bool, left: int) -> None:
    rows = candidates([*ONE, 0.9, 0], [*ONE, 0.8, 1])
    assert len(select(rows, Selection(conf=0.3, iou=0.4, agnostic=agnostic))) == left


def test_an_overlap_equal_to_the_threshold_stays() -> None:
    # 10x10 against its own left half: intersection 50, union 100, IoU exactly 0.5.
    rows = candidates([*ONE, 0.9, 0], [0, 0, 5, 10, 0.8, 0])
    assert len(select(rows, Selection(conf=0.3, iou=0.5))) == 2
    assert len(select(rows, Selection(conf=0.3, iou=0.49))) == 1


def test_a_silenced_box_silences_nobody() -> None:
    # b overlaps a and c; a silences b; c, which overlaps only b, stays.
    rows = candidates([0, 0, 10, 10, 0.9, 0], [4, 0, 14, 10, 0.8, 0], [8, 0, 18, 10, 0.7, 0])
    assert nms(rows, 0.3, agnostic=True).tolist() == [0, 2]


def test_the_class_filter_and_max_det_hold() -> None:
    rows = candidates([*ONE, 0.9, 3], [20, 0, 30, 10, 0.8, 5], [40, 0, 50, 10, 0.7, 5])
    assert select(rows, Selection(conf=0.3, iou=0.4, classes=frozenset({5}), max_det=1)).class_ids.tolist() == [5]


@given(
    st.lists(
        st.tuples(*[st.floats(0, 300, width=32)] * 4, st.floats(0.0625, 1, width=32), st.integers(0, 3)),
        max_size=40,
    ),
    st.floats(0, 1),
)
def test_what_stays_never_overlaps_and_what_goes_always_does(rows: list[tuple[float, ...]], iou: float) -> None:
    boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d), s, k] for a, b, c, d, s, k in rows], np.float32)
    boxes = boxes.reshape(-1, 6)
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    stays = nms(boxes, iou, agnostic=True)

    def overlap(one: np.ndarray, other: np.ndarray) -> float:
        width = min(one[2], other[2]) - max(one[0], other[0])
        height = min(one[3], other[3]) - max(one[1], other[1])
        shared = max(0.0, float(width)) * max(0.0, float(height))
        union = sum(float((b[2] - b[0]) * (b[3] - b[1])) for b in (one, other)) - shared
        return shared / union if union > 0 else 0.0

    for number, row in enumerate(boxes):
        better = [overlap(boxes[kept], row) for kept in stays if kept < number]
        if number in stays:
            assert all(value <= iou + 1e-5 for value in better)
        else:
            assert any(value >= iou - 1e-5 for value in better)


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_unletterbox_undoes_letterbox_within_one_scaled_pixel(width: int, height: int) -> None:
    slot = np.zeros((64, 96, 3), np.uint8)
    how = letterbox(Frame(np.zeros((height, width, 3), np.uint8), width, height), slot)
    corner = np.array([[how.pad_x, how.pad_y, how.pad_x + how.scale * width, how.pad_y + how.scale * height, 1, 0]])
    boxes = select(corner.astype(np.float32), Selection(conf=0.1, iou=1))
    (found,) = unletterbox(boxes, how, clip=False).corners
    assert found == pytest.approx([0, 0, width, height], abs=0.01 / how.scale + 1e-3)


def test_clipping_moves_corners_onto_the_edge_only_when_asked() -> None:
    how = Letterbox(scale=1.0, pad_x=0, pad_y=0, width=8, height=6)
    boxes = select(candidates([-3, -2, 20, 5, 0.9, 0]), Selection(conf=0.1, iou=1))
    assert unletterbox(boxes, how, clip=True).corners.tolist() == [[0, 0, 8, 5]]
    assert unletterbox(boxes, how, clip=False).corners.tolist() == [[-3, -2, 20, 5]]
