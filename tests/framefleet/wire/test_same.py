"""Two answers are the same if each detection has its own partner in the other."""

import pytest
from msgspec.structs import replace

from framefleet.wire.answers import Detection
from framefleet.wire.same import Tolerance, pair, same

FACE = Detection("face", 0, 0.9, (10, 20, 30, 40))
NEXT = replace(FACE, box=(10.8, 20, 30, 40))
FAR = replace(FACE, score=0.8, box=(50, 20, 70, 40))
TOLERANCE = Tolerance(box_px=1.0, score=0.01)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (replace(FACE, score=0.89, box=(11, 20, 30, 39)), True),
        (replace(FACE, score=0.88), False),
        (replace(FACE, box=(11.1, 20, 30, 40)), False),
        (replace(FACE, class_id=1), False),
        (replace(FACE, label="head"), False),
    ],
    ids=["last digits", "score", "moved", "class", "label"],
)
def test_detections_may_differ_in_the_last_digits(other: Detection, expected: bool) -> None:
    assert same([FACE], [other], TOLERANCE) is expected


def test_equal_scores_may_come_in_another_order() -> None:
    assert same([FACE, FAR], [FAR, FACE], TOLERANCE)


def test_a_partner_is_nobody_elses() -> None:
    assert not same([FACE, FAR], [FACE, FACE], TOLERANCE)
    assert not same([FACE], [FACE, FACE], TOLERANCE)
    assert not same([], [FACE], TOLERANCE)


def test_a_partner_is_given_up_where_that_pairs_more() -> None:
    last = replace(FACE, box=(11.6, 20, 30, 40))
    assert pair([NEXT, last], [FACE, NEXT], TOLERANCE) == {0: 0, 1: 1}
