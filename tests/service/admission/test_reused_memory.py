"""Memory that is lent to one request after the other never shows in an answer what another one left there."""

import base64
import json
import random
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
import requests

from service.pictures.body import decode
from service.pictures.image import ImageLimits, letterbox
from tests.instance import RunningInstance, running_instance
from tests.service.digest_engine import SIZE, digest

LIMITS = ImageLimits(max_pixels=40_000_000, max_side=16_384)
SEED = 20_261_201
ROUNDS, CLIENTS = 8, 6
SIDES = ((1280, 720), (320, 240), (640, 480), (500, 900), (1920, 1080), (90, 60), (801, 601))
BOUNDARY = b"framefleetboundary"
LIMIT_S = 60


@dataclass(frozen=True, slots=True)
class Job:
    """A request, and the checksum of the frame that it is about."""

    path: str
    body: bytes
    expected: list[int]
    headers: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def instance(free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningInstance]:
    log = tmp_path_factory.mktemp("poisoned") / "log"
    with running_instance(free_port(), "-", log, "tests.service.workers.PoisonedWorker", deadline_ms=60_000) as running:
        yield running


def raw_frame(pixels: np.ndarray, slash: str = "/") -> bytes:
    image = base64.b64encode(pixels.tobytes()).decode().replace("/", slash)
    return b'{"height": %d, "width": %d, "image": "%b"}' % (*pixels.shape[:2], image.encode())


def form(content: bytes) -> bytes:
    head = b'\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    return b"--" + BOUNDARY + head + content + b"\r\n--" + BOUNDARY + b"--\r\n"


def tensor(datatype: str, shape: list[int], data: bytes) -> tuple[bytes, dict[str, str]]:
    given = {
        "name": "image" if datatype == "BYTES" else "images",
        "datatype": datatype,
        "shape": shape,
        "parameters": {"binary_data_size": len(data)},
    }
    head = json.dumps({"inputs": [given]}).encode()
    return head + data, {"Inference-Header-Content-Length": str(len(head))}


def jobs_of(width: int, height: int, dice: random.Random) -> Iterator[Job]:
    small = np.frombuffer(dice.randbytes(24 * 24 * 3), np.uint8).reshape(24, 24, 3)
    pixels = cv2.resize(small, (width, height))
    pictures = [bytes(cv2.imencode(suffix, pixels)[1]) for suffix in (".jpg", ".png", ".bmp")]
    pictures.append(bytes(cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, 80])[1]))
    pictures.append(bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1]))
    pictures += [raw_frame(pixels), raw_frame(pixels, "\\/")]
    for picture in pictures:
        slot = np.empty((SIZE, SIZE, 3), np.uint8)
        letterbox(decode(picture, LIMITS), slot)
        found = digest(slot)
        for path in ("/v1/detect", "/predict"):
            yield Job(path, picture, found)
        typed = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}
        yield Job("/v1/detect", form(picture), found, typed)
        yield Job("/v1/detect", form(picture), found)
        yield Job("/v1/detect", b"\r\n \xef\xbb\xbf\n" + picture, found)
        yield Job("/v1/detect", picture, found, typed)
        if not picture.startswith(b"{"):
            body, headers = tensor("BYTES", [1], len(picture).to_bytes(4, "little") + picture)
            yield Job("/v2/models/detect/infer", body, found, headers)


def answer(session: requests.Session, url: str, job: Job) -> list[int]:
    found = session.post(url + job.path, job.body, headers=job.headers, timeout=LIMIT_S)
    assert found.status_code == 200, found.text
    document = found.json()
    if job.path == "/predict":
        return [int(name) for box in document for name in box]
    if job.path == "/v1/detect":
        return [box["class_id"] for box in document["detections"]]
    outputs = {output["name"]: output["data"] for output in document["outputs"]}
    return outputs["classes"][:4]


def abort(url: str, job: Job, dice: random.Random) -> None:
    """Sends a part of a body, of which it says that it is longer, and hangs up."""
    host, _, port = url.removeprefix("http://").partition(":")
    head = f"POST {job.path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(job.body) + dice.choice((0, 1, 9999))}\r\n\r\n"
    with socket.create_connection((host, int(port)), LIMIT_S) as connection:
        connection.sendall(head.encode() + job.body[: dice.randrange(len(job.body))])


def test_no_answer_shows_what_another_request_left(instance: RunningInstance) -> None:
    dice = random.Random(SEED)
    jobs = [job for sides in SIDES for job in jobs_of(*sides, dice)]

    def client(seed: int) -> None:
        mine = random.Random(seed)
        with requests.Session() as session:
            for _ in range(ROUNDS):
                for job in mine.sample(jobs, 20):
                    assert answer(session, instance.url, job) == job.expected, (job.path, job.headers, job.body[:60])
                abort(instance.url, mine.choice(jobs), mine)

    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(client, seed) for seed in range(CLIENTS)]:
            done.result()
    assert "Traceback" not in instance.log.read_text()


def test_frames_that_are_letterboxed_already_come_as_they_were_sent(instance: RunningInstance) -> None:
    dice = random.Random(SEED)
    with requests.Session() as session:
        for count in (16, 11, 16, 12):
            frames = np.frombuffer(dice.randbytes(count * SIZE * SIZE * 3), np.uint8).reshape(count, SIZE, SIZE, 3)
            body, headers = tensor("UINT8", [*frames.shape], frames.tobytes())
            found = session.post(f"{instance.url}/v2/models/yolov5/infer", body, headers=headers, timeout=LIMIT_S)
            assert found.status_code == 200, found.text
            (output,) = found.json()["outputs"]
            rows = np.array(output["data"]).reshape(output["shape"])
            for frame, candidates in zip(frames, rows, strict=True):
                assert candidates[:4, 5:].argmax(axis=1).tolist() == digest(frame)
