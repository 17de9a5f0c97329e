"""When an engine agrees with its graph, and when it must not serve."""

import numpy as np
import numpy.typing as npt
import pytest

from service.models.build.gate import Agreement, compare

Floats = npt.NDArray[np.float32]
REFERENCE = [[10, 10, 60, 90, 0.9, 0], [200, 10, 260, 90, 0.6, 1]]


def answer(*rows: list[float]) -> Floats:
    padded = np.zeros((8, 6), np.float32)
    if rows:
        padded[: len(rows)] = rows
    return padded


@pytest.mark.parametrize(
    ("rows", "matched"),
    [
        (REFERENCE, 4),
        (REFERENCE[::-1], 4),
        ([[10, 10, 61, 91, 0.86, 0], REFERENCE[1]], 4),
        ([[10, 10, 60, 90, 0.9, 1], REFERENCE[1]], 2),
        ([[10, 10, 60, 90, 0.84, 0], REFERENCE[1]], 2),
        ([[10, 10, 60, 99, 0.9, 0], REFERENCE[1]], 2),
        (REFERENCE[:1], 2),
        ([], 0),
    ],
    ids=["same", "other order", "rounded", "other class", "other score", "other place", "one missing", "nothing"],
)
def test_boxes_are_matched_by_class_place_and_score(rows: list[list[float]], matched: int) -> None:
    agreement = compare([answer(*REFERENCE)], [answer(*rows)])
    counted = min(len(rows), 2) + 2
    assert (agreement.frames, agreement.boxes, agreement.matched) == (1, counted, matched)


def test_boxes_that_only_the_engine_finds_count_against_it() -> None:
    agreement = compare([answer(*REFERENCE)], [answer(*REFERENCE, [400, 400, 450, 450, 0.8, 0])])
    assert (agreement.boxes, agreement.matched) == (5, 4)


def test_a_score_that_rounding_moves_over_the_threshold_is_no_disagreement() -> None:
    agreement = compare([answer([10, 10, 60, 90, 0.355, 0])], [answer([10, 10, 60, 90, 0.345, 0])])
    assert agreement.share == 1


def test_a_small_box_moved_by_half_a_pixel_is_the_same_box() -> None:
    agreement = compare([answer([10, 10, 16, 16, 0.9, 0])], [answer([10.5, 10.5, 16.5, 16.5, 0.9, 0])])
    assert agreement.share == 1 and agreement.worst_shift_px == 0.5


def test_refusal_gives_the_figures() -> None:
    agreement = compare([answer(*REFERENCE)], [answer([10, 10, 60, 90, 0.88, 0])])
    assert agreement.refusal(0.6) is None
    assert agreement.refusal(0.98) == (
        "accuracy: 2 of 3 boxes agree with ONNX Runtime (66.7%) over 1 frames; scores differ by 0.020, corners by "
        "0.00 px at most; at least 98.0% is needed, nothing was installed"
    )


def test_frames_without_boxes_prove_nothing() -> None:
    agreement = compare([answer()], [answer()])
    assert "finds nothing in the 1 calibration frames" in str(agreement.refusal(0.0))


def test_every_frame_needs_both_answers() -> None:
    with pytest.raises(ValueError, match="shorter"):
        compare([answer(), answer()], [answer()])


def test_an_agreement_is_the_share_of_both_engines_boxes() -> None:
    assert Agreement(frames=2, boxes=8, matched=6, worst_score=0, worst_shift_px=0).share == 0.75
