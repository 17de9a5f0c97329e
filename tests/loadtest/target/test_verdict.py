"""A reply becomes a verdict."""

import pytest

from loadtest.target.reference import Tolerance
from loadtest.target.verdict import Expected, Verdict, batch_size, judge, stage_times
from tests.loadtest.builders import detection
from tests.loadtest.fake_service import FACE, answer

EXPECTED = Expected(176, 144, (detection(0.9184),), Tolerance())


@pytest.mark.parametrize(
    ("status", "body", "verdict", "reason"),
    [
        (200, answer(FACE), Verdict.SAME, ""),
        (200, answer(), Verdict.CHANGED, "missing face"),
        (200, b"<html>", Verdict.CHANGED, "malformed: "),
        (503, b"", Verdict.SHED, "503"),
        (429, b"", Verdict.REJECTED, "429"),
        (500, b"", Verdict.FAILED, "status 500"),
        (504, b"", Verdict.FAILED, "status 504"),
        (302, b"", Verdict.FAILED, "status 302"),
        (0, b"", Verdict.FAILED, "no answer"),
    ],
)
def test_verdicts(status: int, body: bytes, verdict: Verdict, reason: str) -> None:
    outcome = judge(status, body, EXPECTED)
    assert outcome.verdict is verdict
    assert reason in outcome.reason


@pytest.mark.parametrize(
    ("header", "times"),
    [
        (
            "decode;dur=0.5, queue;dur=0.1, infer;dur=30.1, post;dur=0.2",
            {"decode": 0.5, "queue": 0.1, "infer": 30.1, "post": 0.2},
        ),
        ('cache;dur=9,infer;desc="the engine";dur=12', {"infer": 12.0}),
        ("infer", {}),
        ("", {}),
    ],
    ids=["ours", "others", "no time", "none"],
)
def test_stage_times(header: str, times: dict[str, float]) -> None:
    assert stage_times(header) == times


@pytest.mark.parametrize(
    ("header", "frames"),
    [
        ('decode;dur=0.5, infer;dur=30.1;desc="batch of 12", post;dur=0.2', 12),
        ('infer;desc="batch of 3";dur=12', 3),
        ('queue;desc="batch of 3";dur=1, infer;dur=12', 0),
        ('infer;dur=12;desc="batch of 0"', 0),
        ('infer;dur=12;desc="batch of 99999"', 0),
        ("", 0),
    ],
    ids=["ours", "other order", "another stage", "zero", "too many", "none"],
)
def test_batch_size(header: str, frames: int) -> None:
    assert batch_size(header) == frames
