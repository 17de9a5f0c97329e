"""Reads an answer and holds it against the promised schema: bytes -> [Detection...]."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import msgspec

from framefleet.wire.answers import Detection, Detections

# Boxes are clipped to the picture; floats may overshoot in the last digits.
EDGE_PX = 0.5


class MalformedAnswerError(ValueError):
    """The body is not what the API promises; the text says in what way."""


# Takes a body and the picture's width and height in pixels; raises MalformedAnswerError.
Reader = Callable[[bytes, int, int], tuple[Detection, ...]]
FIRST_SERVER_ROUTE = "/predict"


def reader(route: str) -> Reader:
    """Who reads the answers of a route."""
    return parse_first_server if route == FIRST_SERVER_ROUTE else parse


def parse(body: bytes, width: int, height: int) -> tuple[Detection, ...]:
    """Reads and checks the answer of `/v1/detect` to a picture of the given size (pixels).

    Raises:
        MalformedAnswerError: not JSON, a field is missing or of the wrong type, or a value is impossible.
    """
    answer = read_answer(body)
    if (answer.image.width, answer.image.height) != (width, height):
        raise MalformedAnswerError(f"image: says {answer.image.width}x{answer.image.height}, sent was {width}x{height}")
    check(answer, edge_px=EDGE_PX)
    return answer.detections


def read_answer(body: bytes) -> Detections:
    """Reads an answer of `/v1/detect`, whatever its values are.

    Raises:
        MalformedAnswerError: not JSON, or a field is missing or of the wrong type.
    """
    try:
        return msgspec.json.decode(body, type=Detections)
    except msgspec.MsgspecError as error:
        raise MalformedAnswerError(f"{error}; body starts {body[:60]!r}") from None


def check(answer: Detections, *, edge_px: float = 0.0) -> None:
    """Checks that scores fall and boxes lie in the picture that the answer tells of, but for `edge_px` pixels.

    Raises:
        MalformedAnswerError: a value is impossible.
    """
    width, height = answer.image.width, answer.image.height
    for number, detection in enumerate(answer.detections):
        x1, y1, x2, y2 = detection.box
        inside = -edge_px <= x1 <= x2 <= width + edge_px and -edge_px <= y1 <= y2 <= height + edge_px
        if not inside:
            where = f"detections[{number}].box"
            raise MalformedAnswerError(f"{where}: {detection.box} does not lie within {width}x{height}")
    _check_scores(answer.detections)


def parse_first_server(body: bytes, width: int = 0, height: int = 0) -> tuple[Detection, ...]:
    """Reads and checks the answer of `/predict`, whose boxes are whole pixels and may leave the picture.

    Raises:
        MalformedAnswerError: as `parse`.
    """
    try:
        rows = msgspec.json.decode(body, type=tuple[dict[str, tuple[int, int, int, int, float]], ...])
        found = [(int(name), name, corners) for row in rows for name, corners in row.items()]
    except ValueError as error:
        raise MalformedAnswerError(f"{error}; body starts {body[:60]!r}") from None
    if len(found) != len(rows) or any(len(row) != 1 for row in rows):
        raise MalformedAnswerError("a detection does not have one class")
    detections = tuple(
        Detection(name, number, score, (x1, y1, x2, y2)) for number, name, (x1, y1, x2, y2, score) in found
    )
    _check_scores(detections)
    return detections


def _check_scores(detections: Sequence[Detection]) -> None:
    for number, detection in enumerate(detections):
        if not 0.0 <= detection.score <= 1.0:
            raise MalformedAnswerError(f"detections[{number}].score: {detection.score} is not within 0 and 1")
    if any(first.score < second.score for first, second in pairwise(detections)):
        raise MalformedAnswerError("detections: not in order of falling score")
