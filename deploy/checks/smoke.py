"""A smoke test over HTTP alone: does every instance, and the balancer, answer one picture as the API promises?"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from deploy.checks.health import Endpoint, probe
from deploy.checks.own_key import headers
from deploy.checks.salt import salted
from deploy.errors import Problem, StartError
from framefleet.http.refusal import key_advice
from framefleet.wire.same import Detection, Tolerance, same

REQUEST_TIMEOUT_S = 30.0
ALIKE = Tolerance()
CORNERS = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: `name` says where and what, `problem` is empty if it passed, `note` what was seen."""

    name: str
    problem: str
    note: str = ""


def smoke(session: requests.Session, wanted: Sequence[Endpoint], picture: bytes, key: str) -> Iterator[Finding]:
    """Checks each endpoint, and that all give the first one's answers; asks with the API key if there is one."""
    references: dict[str, tuple[str, Sequence[Detection]]] = {}
    for endpoint in wanted:
        answer = probe(session, endpoint)
        yield Finding(f"{endpoint.name} /readyz", answer.reason, f"release {answer.release}")
        for route, read in (("/v1/detect", read_detect), ("/predict", read_predict)):
            name = f"{endpoint.name} POST {route}"
            try:
                boxes, note = _ask(session, endpoint.url + route, picture, key, read)
            except (requests.RequestException, ValueError) as error:
                yield Finding(name, str(error))
                continue
            reference_name, reference = references.setdefault(route, (endpoint.name, boxes))
            differs = f"differs from {reference_name}: {list(boxes)} instead of {list(reference)}"
            yield Finding(name, "" if same(boxes, reference, ALIKE) else differs, note)


def first_frame(video: Path) -> bytes:
    """Cuts the first frame of a video, as JPEG.

    Raises:
        StartError: the video is missing or unreadable.
    """
    import cv2

    opened, frame = cv2.VideoCapture(str(video)).read() if video.is_file() else (False, None)
    if not opened or frame is None:
        raise StartError(Problem(str(video), "missing or no video", "run `make setup`, or pass --image PICTURE"))
    return cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def _ask(
    session: requests.Session, url: str, picture: bytes, key: str, read: Callable[[Any], Sequence[Detection]]
) -> tuple[Sequence[Detection], str]:
    answer = session.post(url, data=salted(picture), headers=headers(key), timeout=REQUEST_TIMEOUT_S)
    if answer.status_code != requests.codes.ok:
        raise ValueError(refusal(answer, key))
    boxes = read(answer.json())
    count = f"{len(boxes)} box{'' if len(boxes) == 1 else 'es'}"
    return boxes, f"{count}, {answer.elapsed.total_seconds() * 1000:.0f} ms"


def refusal(answer: requests.Response, key: str) -> str:
    """What an answer other than 200 says, with what to do if the API key is to blame."""
    what = f"answers {answer.status_code}"
    advice = key_advice(answer.status_code, key)
    return f"{what}; {advice}" if advice else f"{what}: {answer.text[:200]}"


def read_detect(answer: Any) -> tuple[Detection, ...]:
    """Reads an answer of /v1/detect.

    Raises:
        ValueError: it is not what the API promises.
    """
    try:
        width, height = int(answer["image"]["width"]), int(answer["image"]["height"])
        boxes = tuple(
            Detection(found["label"], int(found["class_id"]), float(found["score"]), _corners(found["box"]))
            for found in answer["detections"]
            if isinstance(found["label"], str)
        )
        named = isinstance(answer["model"]["name"], str) and isinstance(answer["request_id"], str)
        stages = {"decode", "queue", "infer", "post"} <= answer["timings_ms"].keys()
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not the schema of /v1/detect: {error!r}") from None
    if not (named and stages and len(boxes) == len(answer["detections"])):
        raise ValueError("not the schema of /v1/detect: a field has the wrong type or is missing")
    if any(not _inside(box, width, height) for box in boxes):
        raise ValueError("a box lies outside the picture, or a score outside 0-1")
    return boxes


def read_predict(answer: Any) -> tuple[Detection, ...]:
    """Reads an answer of /predict.

    Raises:
        ValueError: it is not what the first server's clients expect.
    """
    try:
        pairs = [pair for found in answer for pair in found.items()]
        boxes = tuple(
            Detection("", int(key), float(values[CORNERS]), _corners(values[:CORNERS])) for key, values in pairs
        )
    except (AttributeError, IndexError, TypeError) as error:
        raise ValueError(f"not the schema of /predict: {error!r}") from None
    if not isinstance(answer, list) or len(boxes) != len(answer):
        raise ValueError("not the schema of /predict: want a list of objects with one key each")
    return boxes


def _corners(values: Any) -> tuple[float, float, float, float]:
    corners = tuple(float(value) for value in values)
    if len(corners) != CORNERS:
        raise ValueError(f"a box has {len(corners)} numbers instead of {CORNERS}")
    left, top, right, bottom = corners
    return left, top, right, bottom


def _inside(box: Detection, width: int, height: int) -> bool:
    left, top, right, bottom = box.box
    return 0 <= left <= right <= width and 0 <= top <= bottom <= height and 0 <= box.score <= 1
