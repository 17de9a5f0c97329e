"""References are taken one by one, and tell the same answer from another."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framefleet.wire.answers import Detection
from framefleet.wire.same import Tolerance
from loadtest.errors import RunError, TargetError
from loadtest.frames.frames import CutSettings, FrameSet, cut
from loadtest.target import reference
from loadtest.target.reference import difference
from loadtest.target.target import Reply
from tests.loadtest.builders import detection
from tests.loadtest.fake_service import FACE, answer

TOLERANCE = Tolerance(box_px=1.0, score=0.01, threshold=0.35)

detections = st.lists(
    st.builds(
        detection,
        score=st.floats(0.36, 1.0),
        x1=st.floats(0, 100),
        label=st.just("face"),
        class_id=st.integers(0, 2),
    ),
    max_size=6,
).map(tuple)


@given(detections)
def test_an_answer_equals_itself(found: tuple[Detection, ...]) -> None:
    assert difference(found, found, TOLERANCE) == ""


@given(detections, st.floats(-0.99, 0.99), st.floats(-0.0099, 0.0099))
def test_last_digits_do_not_matter(found: tuple[Detection, ...], shift: float, drift: float) -> None:
    moved = tuple(
        Detection(one.label, one.class_id, one.score + drift, (one.box[0] + shift, *one.box[1:])) for one in found
    )
    assert difference(found, moved, TOLERANCE) == ""


@given(detections)
def test_the_order_of_equals_does_not_matter(found: tuple[Detection, ...]) -> None:
    assert difference(found, found[::-1], TOLERANCE) == ""


@pytest.mark.parametrize(
    ("expected", "got", "complaint"),
    [
        ((detection(0.9),), (), "missing face 0.900"),
        ((), (detection(0.9),), "unexpected face 0.900"),
        ((detection(0.9, 60),), (detection(0.9, 61.1),), "missing face 0.900 at [60"),
        ((detection(0.9),), (detection(0.92),), "unexpected face 0.920"),
        ((detection(0.9),), (detection(0.9, class_id=1),), "missing face"),
        ((detection(0.9),), (detection(0.9, label="cat"),), "unexpected cat"),
        ((detection(0.9),), (detection(0.9), detection(0.9)), "unexpected face"),
        ((detection(0.37),), (), "missing face 0.370"),
    ],
    ids=["lost", "invented", "moved", "rescored", "class", "label", "twice", "not at the threshold"],
)
def test_another_answer_is_told(expected: tuple[Detection, ...], got: tuple[Detection, ...], complaint: str) -> None:
    assert complaint in difference(expected, got, TOLERANCE)


@pytest.mark.parametrize("score", [0.341, 0.35, 0.36])
def test_next_to_the_threshold_a_detection_may_come_and_go(score: float) -> None:
    sure, faint = detection(0.9), detection(score, 10)
    assert difference((sure, faint), (sure,), TOLERANCE) == ""
    assert difference((sure,), (sure, faint), TOLERANCE) == ""


def test_tolerances_include_their_limits() -> None:
    assert difference((detection(0.90, 60),), (detection(0.91, 61),), TOLERANCE) == ""


@pytest.fixture(scope="module")
def frames(sample_video: Path) -> FrameSet:
    return cut(sample_video, CutSettings(limit=3))


def test_each_frame_is_asked_once_and_in_order(frames: FrameSet, tmp_path: Path) -> None:
    asked: list[bytes] = []
    steps: list[int] = []

    def ask(jpeg: bytes) -> Reply:
        asked.append(jpeg)
        return Reply(200, answer(FACE), f"gpu{len(asked) % 2}")

    taken = reference.take(frames, frames.jpegs, "/v1/detect", ask, lambda: steps.append(1))
    assert asked == list(frames.jpegs)
    assert (len(steps), len(taken.detections), taken.instances) == (3, 3, ("gpu0", "gpu1"))
    reference.save(taken, tmp_path / "references.json")
    assert reference.load(tmp_path / "references.json") == taken


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (Reply(503, b"busy", ""), "frame 0 from /v1/detect: status 503 instead of 200"),
        (Reply(200, b"{}", ""), "frame 0 from /v1/detect: .*missing required field"),
    ],
    ids=["status", "schema"],
)
def test_a_bad_reference_stops_the_replay(frames: FrameSet, reply: Reply, complaint: str) -> None:
    with pytest.raises(TargetError, match=complaint):
        reference.take(frames, frames.jpegs, "/v1/detect", lambda body: reply)


@pytest.mark.parametrize("content", [None, b"{"], ids=["missing", "damaged"])
def test_unreadable_references_are_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "references.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=r"references\.json: .*run the replay again"):
        reference.load(path)
