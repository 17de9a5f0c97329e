"""What every peer does with a picture: decode, letterbox, one turn of the accelerator, the boxes as the first server's.

Runs in the peers' own environments, beside the server that imports it: only numpy and OpenCV are there. The
accelerator is the simulated one of `service.engines.simulated`, with the same cost and the same answer.
"""

import fcntl
import json
import os
import threading
import time
from typing import NamedTuple

import cv2
import numpy as np

cv2.setNumThreads(1)

PORT = int(os.environ.get("PEER_PORT", "0"))
CORES = len(os.sched_getaffinity(0))
SIDE, PADDING_VALUE, SCORE = 640, 128, 0.9
MAX_BATCH = 8
# While the accelerator works, requests gather by themselves; waiting longer for more would only add latency.
BATCH_WAIT_MS = 1


class Letterboxed(NamedTuple):
    """A picture in the model's input: `slot` uint8 [640, 640, 3], and what brings boxes back into the picture."""

    slot: np.ndarray
    scale: float
    pad_x: float
    pad_y: float


def decode(body: bytes) -> np.ndarray:
    """A picture file's pixels, uint8 [h, w, 3], BGR."""
    return cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)


def letterbox(frame: np.ndarray) -> Letterboxed:
    """Scales a picture into the model's input by the first server's rules."""
    height, width = frame.shape[:2]
    scale = min(SIDE / width, SIDE / height)
    inner_width, inner_height = int(width * scale), int(height * scale)
    left, top = (SIDE - inner_width) // 2, (SIDE - inner_height) // 2
    scaled = cv2.resize(frame, (inner_width, inner_height), interpolation=cv2.INTER_LINEAR)
    around = (top, SIDE - inner_height - top, left, SIDE - inner_width - left)
    slot = cv2.copyMakeBorder(scaled, *around, cv2.BORDER_CONSTANT, value=(PADDING_VALUE,) * 3)
    return Letterboxed(slot, scale, (SIDE - scale * width) / 2, (SIDE - scale * height) / 2)


def boxes(taken: Letterboxed, corner: tuple[int, int]) -> list[dict[str, list[float]]]:
    """The answer to one picture, from where it is brightest in the model's input."""
    x, y = corner
    corners = [(x - taken.pad_x), (y - taken.pad_y), (x + SIDE / 8 - taken.pad_x), (y + SIDE / 8 - taken.pad_y)]
    return [{"0": [*(round(float(value) / taken.scale) for value in corners), SCORE]}]


class Accelerator:
    """The one accelerator of this machine, whoever asks: a batch of n frames takes a + b * n ms, one at a time."""

    def __init__(self) -> None:
        self._a_ms, self._b_ms = float(os.environ["PEER_A_MS"]), float(os.environ["PEER_B_MS"])
        self._lock = os.open(os.environ["PEER_LOCK"], os.O_RDWR | os.O_CREAT, 0o600)
        self._thread = threading.Lock()

    def infer(self, frames: np.ndarray) -> list[tuple[int, int]]:
        """Takes uint8 [n, 640, 640, 3]; returns where each frame is brightest, x and y."""
        with self._thread:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                time.sleep((self._a_ms + self._b_ms * len(frames)) / 1000)
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)
        some = frames[:, ::8, ::8]
        light = some[..., 0].astype(np.int64) + some[..., 1] + some[..., 2]
        rows, columns = light.sum(axis=2).argmax(axis=1) * 8, light.sum(axis=1).argmax(axis=1) * 8
        return list(zip(columns.tolist(), rows.tolist(), strict=True))

    def detect(self, taken: list[Letterboxed]) -> list[list[dict[str, list[float]]]]:
        """Letterboxed pictures in, their answers out, as one batch."""
        corners = self.infer(np.stack([one.slot for one in taken]))
        return [boxes(one, corner) for one, corner in zip(taken, corners, strict=True)]


def as_text(answer: object) -> bytes:
    """JSON text of an answer."""
    return json.dumps(answer).encode()
