"""The idle service's answer to each frame, and whether another is the same: FrameSet -> [References] -> verdicts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from framefleet.http.refusal import key_advice
from framefleet.wire.answers import Detection
from framefleet.wire.reading import MalformedAnswerError, reader
from framefleet.wire.same import HAIR, Tolerance, pair
from loadtest.errors import RunError, TargetError
from loadtest.frames.frames import FrameSet
from loadtest.target.api_key import own_key
from loadtest.target.target import Reply

HTTP_OK = 200


@dataclass(frozen=True, slots=True)
class References:
    """The reference answers of a frame set.

    Attributes:
        digest: of the frame set they belong to.
        route: that gave them.
        instances: names of the instances that gave them.
        detections: per frame, its detections with the highest score first.
    """

    digest: str
    route: str
    instances: tuple[str, ...]
    detections: tuple[tuple[Detection, ...], ...]


def take(
    frames: FrameSet,
    bodies: Sequence[bytes],
    route: str,
    ask: Callable[[bytes], Reply],
    step: Callable[[], object] = lambda: None,
) -> References:
    """Asks an idle service for every frame, one at a time.

    Args:
        frames: the frames.
        bodies: the request body of each.
        route: path that is asked; it decides how its answers are read.
        ask: sends one body there and waits for the reply.
        step: called after each frame, for a progress bar.

    Raises:
        TargetError: an answer was not 200 or not in the promised form.
    """
    answers: list[tuple[Detection, ...]] = []
    instances: set[str] = set()
    read = reader(route)
    for index, body in enumerate(bodies):
        reply = ask(body)
        where = f"reference of frame {index} from {route}"
        if advice := key_advice(reply.status, own_key()):
            raise TargetError(f"{where}: status {reply.status}; {advice}")
        if reply.status != HTTP_OK:
            raise TargetError(
                f"{where}: status {reply.status} instead of 200; is this a fleet's address? {reply.body[:80]!r}"
            )
        try:
            answers.append(read(reply.body, frames.width, frames.height))
        except MalformedAnswerError as error:
            raise TargetError(f"{where}: {error}") from None
        instances.add(reply.instance)
        step()
    return References(frames.digest, route, tuple(sorted(instances)), tuple(answers))


def save(references: References, path: Path) -> None:
    """Writes references as JSON."""
    path.write_bytes(msgspec.json.encode(references))


def load(path: Path) -> References:
    """Reads what `save` wrote.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=References)
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}; run the replay again") from None
    except msgspec.MsgspecError as error:
        raise RunError(f"{path}: {error}; run the replay again") from None


def difference(expected: tuple[Detection, ...], got: tuple[Detection, ...], tolerance: Tolerance) -> str:
    """Says how an answer differs from the reference; an empty text means that it is the same.

    As many detections as possible are paired with one that is the same within the tolerance; one without a partner
    counts only if its score is not next to the threshold.
    """
    partners = pair(expected, got, tolerance)
    paired = set(partners.values())
    missing = [one for index, one in enumerate(expected) if index not in paired]
    extra = [one for index, one in enumerate(got) if index not in partners]
    return "; ".join(_complaints("missing", missing, tolerance) + _complaints("unexpected", extra, tolerance))


def _complaints(kind: str, detections: list[Detection], tolerance: Tolerance) -> list[str]:
    return [
        f"{kind} {one.label} {one.score:.3f} at {[round(value, 1) for value in one.box]}"
        for one in detections
        if abs(one.score - tolerance.threshold) > tolerance.score + HAIR
    ]
