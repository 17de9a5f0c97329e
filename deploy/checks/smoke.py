"""A smoke test over HTTP alone: does every instance, and the balancer, answer one picture as the API promises?"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from deploy.checks.health import Endpoint, probe
from deploy.checks.own_key import headers
from deploy.checks.salt import salted
from deploy.errors import Problem, StartError
from framefleet.http.refusal import key_advice
from framefleet.wire.answers import Detection
from framefleet.wire.reading import check, parse_first_server, read_answer
from framefleet.wire.same import Tolerance, same

REQUEST_TIMEOUT_S = 30.0
ALIKE = Tolerance()


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
        for route, read in (("/v1/detect", read_detect), ("/predict", parse_first_server)):
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
    session: requests.Session, url: str, picture: bytes, key: str, read: Callable[[bytes], Sequence[Detection]]
) -> tuple[Sequence[Detection], str]:
    answer = session.post(url, data=salted(picture), headers=headers(key), timeout=REQUEST_TIMEOUT_S)
    if answer.status_code != requests.codes.ok:
        raise ValueError(refusal(answer, key))
    boxes = read(answer.content)
    count = f"{len(boxes)} box{'' if len(boxes) == 1 else 'es'}"
    return boxes, f"{count}, {answer.elapsed.total_seconds() * 1000:.0f} ms"


def refusal(answer: requests.Response, key: str) -> str:
    """What an answer other than 200 says, with what to do if the API key is to blame."""
    what = f"answers {answer.status_code}"
    advice = key_advice(answer.status_code, key)
    return f"{what}; {advice}" if advice else f"{what}: {answer.text[:200]}"


def read_detect(body: bytes) -> tuple[Detection, ...]:
    """Reads and checks an answer of /v1/detect.

    Raises:
        ValueError: it is not what the API promises.
    """
    answer = read_answer(body)
    check(answer)
    return answer.detections
