"""One client sends an instance everything that is dear to decode, while another one asks about small pictures."""

import base64
import gzip
import json
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import requests

from tests.instance import running_instance, wait_until

SIDES = (5000, 7600)
MOST_BYTES = 700_000_000
SPARE_BYTES = 60_000_000
BOUNDARY = "multipart/form-data; boundary=xyz"
OIP = "/v2/models/detect/infer"


def encoded(kind: str, *options: int, dtype: type = np.uint8, channels: tuple[int, ...] = (3,)) -> bytes:
    return cv2.imencode(kind, np.zeros((*SIDES, *channels), dtype), options)[1].tobytes()


def form(picture: bytes, count: int) -> bytes:
    part = b'--xyz\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + picture + b"\r\n"
    return part * count + b"--xyz--\r\n"


def bombs() -> list[tuple[str, bytes, dict[str, str]]]:
    deep = encoded(".png", cv2.IMWRITE_PNG_COMPRESSION, 1, dtype=np.uint16)
    progressive = encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111)
    raw = json.dumps({"height": 3900, "width": 4000, "image": base64.b64encode(bytes(3900 * 4000 * 3)).decode()})
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(deep).decode()]}
    return [
        ("/v1/detect", form(deep, 2), {"Content-Type": BOUNDARY}),
        ("/v1/vision/detection", form(progressive, 1), {"Content-Type": BOUNDARY}),
        ("/v1/detect", progressive, {"Accept": "image/jpeg"}),
        ("/predict", raw.encode(), {}),
        ("/v1/detect", encoded(".bmp", channels=()), {}),
        ("/v1/detect", encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 50), {}),
        (OIP, gzip.compress(json.dumps({"inputs": [tensor]}).encode().ljust(60_000_000)), {"Content-Encoding": "gzip"}),
        (OIP, json.dumps({"inputs": [tensor]}).encode(), {}),
    ]


def held(pid: int, what: str) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split(f"{what}:")[1].split()[0]) * 1024


def test_bombs_are_answered_in_bounded_memory_and_nobody_else_is_refused(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    small = cv2.imencode(".jpg", np.zeros((480, 640, 3), np.uint8))[1].tobytes()
    with running_instance(
        free_port(), "simulated:a_ms=1,b_ms=1", tmp_path / "log", deadline_ms=120_000, max_batch=1
    ) as instance:
        pid = instance.worker_pid()
        before = held(pid, "VmRSS")
        statuses: list[int] = []

        def send(path: str, body: bytes, headers: dict[str, str]) -> None:
            own = {"X-Real-IP": "192.0.2.66", **headers}
            statuses.append(requests.post(instance.url + path, body, headers=own, timeout=120).status_code)

        attackers = [threading.Thread(target=send, args=bomb) for bomb in bombs()]
        for attacker in attackers:
            attacker.start()
        answers = []
        while any(attacker.is_alive() for attacker in attackers):
            asked = requests.post(f"{instance.url}/v1/detect", small, headers={"X-Real-IP": "192.0.2.1"}, timeout=120)
            answers.append(asked.status_code)
        assert statuses == [200] * len(attackers)
        assert set(answers) == {200}
        assert held(pid, "VmHWM") < MOST_BYTES
        wait_until("the memory is given back", lambda: held(pid, "VmRSS") < before + SPARE_BYTES, 20)
