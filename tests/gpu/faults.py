"""Breaks the device under a whole instance and looks at how the process ends."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import requests

from tests.gpu.faulty_torch import GOOD
from tests.instance import running_instance

LIMIT_S = 60
SIZE = (64, 96)


def exit_code_after(
    mark: int, script: Path, device: str, free_port: Callable[[], int], folder: Path
) -> tuple[int, str]:
    """Sends a good picture, then one that breaks the device; the exit code and the log."""
    settings = {"device": device, "self_test_s": 0, "watchdog_s": LIMIT_S, "deadline_ms": LIMIT_S * 1000}
    log = folder / "faulty.log"
    with running_instance(
        free_port(), script, log, "tests.gpu.faulty_worker.FaultyTorchWorker", **settings
    ) as instance:
        assert _send(instance.url, GOOD) == requests.codes.ok, log.read_text(errors="replace")
        assert _send(instance.url, mark) == 0
        return instance.process.wait(LIMIT_S), log.read_text(errors="replace")


def _send(url: str, mark: int) -> int:
    """The answer's status; 0 when the connection broke."""
    body = cv2.imencode(".png", np.full((*SIZE, 3), mark, np.uint8))[1].tobytes()
    try:
        return requests.post(f"{url}/predict", body, timeout=LIMIT_S).status_code
    except requests.ConnectionError:
        return 0
