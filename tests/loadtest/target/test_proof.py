"""A comparison of empty answers proves little, and that is said."""

import pytest

from loadtest.target import proof
from tests.loadtest.builders import detection

SEEN, NOTHING = (detection(),), ()


@pytest.mark.parametrize(
    ("detecting", "frames", "warning"),
    [
        (0, 120, "finds something in no frame of the clip: that answers stay the same proves little"),
        (3, 120, "finds something in 3 of 120 frames: that answers stay the same proves little"),
        (12, 120, ""),
        (120, 120, ""),
    ],
)
def test_a_clip_that_shows_next_to_nothing_is_named(detecting: int, frames: int, warning: str) -> None:
    answers = [SEEN] * detecting + [NOTHING] * (frames - detecting)
    found = proof.of(answers).warning
    assert warning in found
    assert bool(found) is bool(warning)


def test_the_share_is_of_all_frames() -> None:
    assert proof.of([SEEN, NOTHING, NOTHING, SEEN]).share == 0.5
    assert proof.of([]).share == 0.0
