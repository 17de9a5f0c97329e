"""Threshold, NMS and the way back to picture pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.pictures.image import Frame, Letterbox, letterbox
from service.pipeline.boxes import Selection, nms, select, unletterbox

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


def greedy(ordered: np.ndarray, iou: float, *, agnostic: bool) -> list[int]:
    """NMS as the paper says it, box by box; the reference."""
    x1, y1, x2, y2 = ordered[:, None, :4].transpose(2, 0, 1)
    u1, v1, u2, v2 = ordered[None, :, :4].transpose(2, 0, 1)
    low = np.stack((np.maximum(x1, u1), np.maximum(y1, v1)), axis=2)
    high = np.stack((np.minimum(x2, u2), np.minimum(y2, v2)), axis=2)
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = np.clip(ordered[:, 2] - ordered[:, 0], 0, None) * np.clip(ordered[:, 3] - ordered[:, 1], 0, None)
    union = areas[:, None] + areas - shared
    silences = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0) > np.float32(iou)
    if not agnostic:
        silences &= ordered[:, 5, None] == ordered[:, 5]
    stays: list[int] = []
    for row in range(len(ordered)):
        if not silences[stays, row].any():
            stays.append(row)
    return stays


@st.composite
def ordered_boxes(draw: st.DrawFn) -> np.ndarray:
    """Up to hundreds of boxes; on a coarse grid many are alike, touch, share an overlap exactly, or are empty."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, spread = draw(st.integers(0, 320)), draw(st.sampled_from([1, 8, 40, 600]))
    grid = draw(st.sampled_from([None, 1, 8]))
    boxes = np.zeros((count, 6), np.float32)
    boxes[:, :2] = random.random((count, 2)) * spread
    boxes[:, 2:4] = (
        boxes[:, :2] + random.random((count, 2)) * draw(st.sampled_from([1, 16, 120])) - draw(st.sampled_from([0, 1]))
    )
    if grid:
        boxes[:, :4] = np.round(boxes[:, :4] / grid) * grid
    boxes[:, 4] = np.sort(random.random(count))[::-1]
    boxes[:, 5] = random.integers(0, draw(st.sampled_from([1, 3, 80])), count)
    return boxes


@settings(deadline=None)
@given(ordered_boxes(), st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, 1.0])), st.booleans())
def test_what_stays_is_what_stays_box_by_box(boxes: np.ndarray, iou: float, agnostic: bool) -> None:
    assert nms(boxes, iou, agnostic=agnostic).tolist() == greedy(boxes, iou, agnostic=agnostic)


@pytest.mark.parametrize("count", [2, 3, 300])
def test_in_a_chain_every_second_box_stays(count: int) -> None:
    start = np.arange(count, dtype=np.float32)[:, None] * 6
    rows = np.hstack([start, start * 0, start + 10, start * 0 + 10, 1 - start / 1e4, start * 0])
    assert nms(rows, 0.2, agnostic=True).tolist() == list(range(0, count, 2))


def test_of_hundreds_that_all_overlap_the_best_stays() -> None:
    rows = np.tile(np.array([*ONE, 0.9, 0], np.float32), (300, 1))
    assert nms(rows, 0.5, agnostic=False).tolist() == [0]


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
