"""A stand-in accelerator with a known service time, for testing the kit where there is no GPU.

Its answers are not detections, but they depend on the picture alone, so that crossed or stale answers are caught.
"""

import fcntl
import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.engines import Candidates, EngineInfo, Frames
from service.errors import StartError

PREFERRED_BATCH = 8
SCORE = 0.9
LIMITS = {"a_ms": (0, 3_600_000), "b_ms": (0, 3_600_000), "size": (8, 4096), "load_ms": (0, 3_600_000)}


@dataclass(frozen=True, slots=True)
class SimulatedCost:
    """What the stand-in takes.

    A batch of n frames takes `a_ms` + `b_ms` * n ms, opening it `load_ms` ms; `size` is the square input's side in
    pixels. Engines of whatever processes with the same `lock`, a file, are one accelerator: one batch at a time.
    """

    a_ms: float = 2.0
    b_ms: float = 0.1
    size: int = 320
    load_ms: float = 0.0
    lock: str = ""


class SimulatedEngine:
    """Sleeps for the service time and answers one box whose place is where the picture is brightest.

    Args:
        spec: `a_ms=2,b_ms=0.1,size=320,load_ms=0,lock=FILE`, any of them left out for its default.
        max_batch: frames at once; 0 takes the default.

    Raises:
        StartError: the spec names something else, or a value is no number within `LIMITS`; opened: the lock cannot be.
    """

    def __init__(self, spec: str, max_batch: int) -> None:
        self._cost = _parse(spec)
        self._lock: int | None = None
        self.info = EngineInfo(
            kind="simulated",
            model="simulated",
            device="simulated",
            input_size=(self._cost.size, self._cost.size),
            max_batch=max_batch or PREFERRED_BATCH,
            classes=("object",),
            note=f"stand-in accelerator, {self._cost.a_ms} ms + {self._cost.b_ms} ms a frame; not a real model",
        )

    def infer(self, frames: Frames) -> Candidates:
        """See `Engine.infer`; k is 1."""
        self._take((self._cost.a_ms + self._cost.b_ms * len(frames)) / 1000)
        some = frames[:, ::8, ::8]
        light = some[..., 0].astype(np.int64) + some[..., 1] + some[..., 2]
        rows, columns = light.sum(axis=2).argmax(axis=1) * 8, light.sum(axis=1).argmax(axis=1) * 8
        x, y = columns.astype(np.float32), rows.astype(np.float32)
        side = np.full_like(x, self._cost.size / 8)
        score, class_id = np.full_like(x, SCORE), np.zeros_like(x)
        return np.stack([x, y, x + side, y + side, score, class_id], axis=1)[:, None, :]

    def _take(self, seconds: float) -> None:
        if self._lock is None:
            time.sleep(seconds)
            return
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            time.sleep(seconds)
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def __enter__(self) -> "SimulatedEngine":
        if self._cost.lock:
            try:
                self._lock = os.open(self._cost.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StartError(f"FRAMEFLEET_MODEL: simulated: lock={self._cost.lock}: {error.strerror}") from None
        time.sleep(self._cost.load_ms / 1000)
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _parse(spec: str) -> SimulatedCost:
    kinds: dict[str, type] = {"a_ms": float, "b_ms": float, "size": int, "load_ms": float, "lock": str}
    values: dict[str, Any] = {}
    for part in filter(None, spec.split(",")):
        name, _, text = part.partition("=")
        try:
            value = values[name] = kinds[name](text)
        except (KeyError, ValueError):
            raise StartError(
                f"FRAMEFLEET_MODEL: simulated:{spec}: {part!r} is not {', '.join(LIMITS)} with a number, or lock=FILE"
            ) from None
        if name not in LIMITS:
            continue
        low, high = LIMITS[name]
        if not low <= value <= high:  # also refuses nan
            raise StartError(f"FRAMEFLEET_MODEL: simulated:{spec}: {part!r} is outside {low} to {high}")
    return SimulatedCost(**values)
