"""Rows to candidates, against plain NumPy."""

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch", reason="torch is not installed; `make torch` installs it")

import torch

from service.engines.torch.rows import rows_of, to_candidates

Floats = npt.NDArray[np.float32]
ANCHORS, CLASSES = 400, 5


def reference(boxes: Floats, scores: Floats, count: int) -> Floats:
    best_score, best_class = scores.max(axis=2), scores.argmax(axis=2)
    best = np.argsort(-best_score, axis=1)[:, :count]
    answer = np.empty((*best.shape, 6), np.float32)
    for frame, chosen in enumerate(best):
        centre, half = boxes[frame, chosen, :2], boxes[frame, chosen, 2:] / 2
        answer[frame, :, :2], answer[frame, :, 2:4] = centre - half, centre + half
        answer[frame, :, 4], answer[frame, :, 5] = best_score[frame, chosen], best_class[frame, chosen]
    return answer


@pytest.mark.parametrize("count", [1, 3])
def test_both_layouts_give_the_best_rows_in_order(count: int) -> None:
    random = np.random.default_rng(count)
    boxes = random.random((count, ANCHORS, 4), np.float32) * 100
    # No two rows have the same score: the order of equal ones is nobody's promise.
    objectness = np.stack([random.permutation(ANCHORS) + 1 for _ in range(count)])[..., None].astype(np.float32)
    classes = random.random((count, ANCHORS, CLASSES), np.float32) / 2
    np.put_along_axis(classes, random.integers(0, CLASSES, (count, ANCHORS, 1)), 1, 2)
    scores = objectness / ANCHORS * classes

    v5 = to_candidates(torch.from_numpy(np.concatenate((boxes, objectness / ANCHORS, classes), 2)), "yolov5", CLASSES)
    v8 = to_candidates(torch.from_numpy(np.concatenate((boxes, scores), 2).swapaxes(1, 2)), "yolov8", CLASSES)

    expected = reference(boxes, scores, 300)
    np.testing.assert_allclose(v5.numpy(), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(v8.numpy(), expected, rtol=0, atol=1e-5)


def test_fewer_anchors_than_wanted_give_every_anchor() -> None:
    assert to_candidates(torch.rand(2, 7, 9), "yolov5", 4).shape == (2, 7, 6)


def test_half_precision_rows_are_decoded_in_full() -> None:
    rows = torch.tensor([[[601.0, 333.0, 5.0, 3.0, 1.0, 0.5]]]).half()
    assert to_candidates(rows, "yolov5", 1)[0, 0, :4].tolist() == [598.5, 331.5, 603.5, 334.5]


def test_rows_of_another_layout_are_refused() -> None:
    with pytest.raises(ValueError, match="84 columns; layout yolov5 has 85 for 80 classes"):
        to_candidates(torch.rand(1, 100, 84), "yolov5", 80)
    with pytest.raises(ValueError, match="100 columns; layout yolov8 has 84 for 80 classes"):
        to_candidates(torch.rand(1, 100, 84), "yolov8", 80)


def test_rows_are_found_beside_feature_maps() -> None:
    rows, maps = torch.rand(1, 4, 9), torch.rand(1, 3, 2, 2, 9)
    assert rows_of(rows) is rows_of((rows, [maps])) is rows_of([maps, rows]) is rows
    with pytest.raises(ValueError, match="without NMS"):
        rows_of((maps,))
