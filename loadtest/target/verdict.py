"""What an answer is worth: status and body of a reply -> [Outcome] -> sample. Pure."""

from dataclasses import dataclass
from enum import Enum

from framefleet.wire.answers import Detection
from framefleet.wire.reading import MalformedAnswerError, Reader, parse
from framefleet.wire.same import Tolerance
from loadtest.target.reference import HTTP_OK, difference

TOO_MANY_REQUESTS = 429
UNAVAILABLE = 503


class Verdict(str, Enum):
    """What became of an arrival.

    SAME: answered as without load, that is as the frame's reference; whether that is correct, nobody here can know.
    CHANGED: status 200, but another answer or a malformed one. SHED: 503, the service protects itself. REJECTED: 429,
    the client is over its rate. FAILED: any other status, or no answer at all. DROPPED: never sent, since its camera
    already had the greatest allowed number of frames in flight.
    """

    SAME = "same"
    CHANGED = "changed"
    SHED = "shed"
    REJECTED = "rejected"
    FAILED = "failed"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict and, unless it is SAME, the reason in one line."""

    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a frame's answer must be to be the same.

    Attributes:
        width: of the frame that was sent, in pixels.
        height: of the frame that was sent, in pixels.
        detections: the frame's reference answer.
        tolerance: how far from it an answer may be.
        read: takes an answer apart.
    """

    width: int
    height: int
    detections: tuple[Detection, ...]
    tolerance: Tolerance
    read: Reader = parse


def judge(status: int, body: bytes, expected: Expected) -> Outcome:
    """Judges a reply; a status other than 200 is never looked into further."""
    if status == UNAVAILABLE:
        return Outcome(Verdict.SHED, "shed with 503")
    if status == TOO_MANY_REQUESTS:
        return Outcome(Verdict.REJECTED, "rejected with 429")
    if status != HTTP_OK:
        return Outcome(Verdict.FAILED, f"status {status}" if status else "no answer")
    try:
        got = expected.read(body, expected.width, expected.height)
    except MalformedAnswerError as error:
        return Outcome(Verdict.CHANGED, f"malformed: {error}")
    reason = difference(expected.detections, got, expected.tolerance)
    return Outcome(Verdict.CHANGED, reason) if reason else Outcome(Verdict.SAME)
