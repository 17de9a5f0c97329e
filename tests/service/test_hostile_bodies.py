"""Damaged pictures of every kind, thrown at one real instance: they cost nobody else anything."""

import base64
import json
import random
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests

from tests.instance import RunningInstance, running_instance

WARM_UP_ROUNDS, ROUNDS = 30, 150
SEED = 20_261_123
BOUNDARY = b"framefleetboundary"

Body = bytes


def picture() -> np.ndarray:
    _, frame = cv2.VideoCapture("var/video/bigbuckbunny.mp4").read()
    return cv2.resize(frame, (640, 360))


def form(content: bytes) -> Body:
    head = b'\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    return b"--" + BOUNDARY + head + content + b"\r\n--" + BOUNDARY + b"--\r\n"


def good_bodies() -> dict[str, Body]:
    frame = picture()
    jpeg, png, bmp = (bytes(cv2.imencode(suffix, frame)[1]) for suffix in (".jpg", ".png", ".bmp"))
    webp = bytes(cv2.imencode(".webp", frame, [cv2.IMWRITE_WEBP_QUALITY, 80])[1])
    progressive = bytes(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1])
    odd = Path("tests/cases/subsampling-410.jpg").read_bytes()
    image = base64.b64encode(frame.tobytes()).decode()
    raw = json.dumps({"height": frame.shape[0], "width": frame.shape[1], "image": image}).encode()
    pictures = {"jpeg": jpeg, "progressive": progressive, "odd": odd, "png": png, "webp": webp, "bmp": bmp}
    return {**pictures, "raw": raw, "form": form(jpeg)}


def truncated(body: Body, dice: random.Random) -> Body:
    return body[: dice.randrange(len(body))]


def flipped(body: Body, dice: random.Random) -> Body:
    damaged = bytearray(body)
    # Headers are a small part of a picture and the larger part of what can go wrong: half of the flips go there.
    for _ in range(dice.choice((1, 3, 30))):
        place = dice.randrange(min(len(damaged), dice.choice((64, len(damaged)))))
        damaged[place] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def oversized(body: Body, dice: random.Random) -> Body:
    """Announces more pixels than there are, up to far beyond every limit."""
    side = dice.choice((1, 5_000, 16_384, 16_385, 65_535))
    damaged = bytearray(body)
    if body.startswith(b"\x89PNG"):
        damaged[16:24] = struct.pack(">II", side, side)
    elif body.startswith(b"RIFF"):
        damaged[26:30] = struct.pack("<HH", min(side, 16_383), min(side, 16_383))
    elif body.startswith(b"BM"):
        damaged[18:26] = struct.pack("<ii", side, side)
    elif (start := body.find(b"\xff\xc0")) >= 0:
        damaged[start + 5 : start + 9] = struct.pack(">HH", side, side)
    else:
        return body.replace(b'"height": 360', b'"height": %d' % side)
    return bytes(damaged)


def spliced(body: Body, dice: random.Random) -> Body:
    cut = dice.randrange(len(body))
    return body[:cut] + dice.randbytes(dice.choice((1, 100, 5000))) + body[cut:]


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.fixture
def instance(free_port: Callable[[], int], tmp_path: Path) -> Iterator[RunningInstance]:
    with running_instance(free_port(), "simulated:a_ms=1", tmp_path / "log") as running:
        yield running


def test_damaged_pictures_never_break_the_instance_or_another_answer(instance: RunningInstance) -> None:
    dice = random.Random(SEED)
    good = good_bodies()
    session = requests.Session()

    def answer(body: Body) -> tuple[int, object]:
        found = session.post(f"{instance.url}/v1/detect", body, timeout=30)
        return found.status_code, found.json().get("detections")

    expected = {kind: answer(body) for kind, body in good.items()}
    assert {status for status, _ in expected.values()} == {200}
    worker = instance.worker_pid()
    damages = (truncated, flipped, oversized, spliced)
    with ThreadPoolExecutor(4) as pool:
        for number in range(WARM_UP_ROUNDS + ROUNDS):
            if number == WARM_UP_ROUNDS:  # every thread and buffer that will ever be there is there now
                before = resident_bytes(worker)
            kinds = list(good)
            hostile = [damage(good[kind], dice) for kind in kinds for damage in damages]
            jobs = [*hostile, *good.values()]
            order = list(range(len(jobs)))
            dice.shuffle(order)
            answers = dict(zip(order, pool.map(answer, [jobs[place] for place in order]), strict=True))
            statuses = {answers[place][0] for place in range(len(hostile))}
            assert statuses <= {200, 400, 413, 415, 422}
            assert [answers[len(hostile) + number] for number in range(len(kinds))] == [
                expected[kind] for kind in kinds
            ]
    assert instance.worker_pid() == worker
    assert resident_bytes(worker) <= 1.2 * before
    assert "Traceback" not in instance.log.read_text()
