"""A reply becomes a verdict."""

import pytest

from framefleet.wire.same import Tolerance
from loadtest.target.verdict import Expected, Verdict, judge
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
