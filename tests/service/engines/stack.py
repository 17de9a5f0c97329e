"""The same pictures to two whole instances, and how far their answers are apart."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import requests

from tests.instance import running_instance
from tests.service.engines.torch_models import pictures

LIMIT_S = 120
COMMON = {"conf": 0.5, "deadline_ms": 60_000, "watchdog_s": 60}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two instances: its `model`, and its `settings` by their lower-case names."""

    model: Path
    settings: dict[str, object]


@dataclass(frozen=True, slots=True)
class Difference:
    """How the answers differ.

    `boxes` compared; `worst_px` and `worst_score` between partners; `engines`: what each instance says it runs.
    """

    boxes: int
    worst_px: float
    worst_score: float
    engines: tuple[dict[str, Any], dict[str, Any]]


def compare_instances(ours: Side, theirs: Side, free_port: Callable[[], int], folder: Path, count: int) -> Difference:
    """Sends `count` pictures to both; fails where they find another number of boxes or other classes."""
    common = {**COMMON, "cache": folder}
    bodies = [cv2.imencode(".png", picture)[1].tobytes() for picture in pictures(count, (96, 128))]
    with (
        running_instance(free_port(), ours.model, folder / "ours.log", **common, **ours.settings) as one,
        running_instance(free_port(), theirs.model, folder / "theirs.log", **common, **theirs.settings) as other,
    ):
        one_says, other_says = (requests.get(f"{at.url}/status", timeout=LIMIT_S).json() for at in (one, other))
        pairs = [(detect(one.url, body), detect(other.url, body)) for body in bodies]
    pixels, scores = [0.0], [0.0]
    for found, expected in pairs:
        assert [box["label"] for box in found] == [box["label"] for box in expected]
        for mine, yours in zip(found, expected, strict=True):
            pixels += [abs(a - b) for a, b in zip(mine["box"], yours["box"], strict=True)]
            scores.append(abs(mine["score"] - yours["score"]))
    return Difference(
        boxes=len(scores) - 1,
        worst_px=max(pixels),
        worst_score=max(scores),
        engines=(one_says["engine"], other_says["engine"]),
    )


def detect(url: str, body: bytes) -> list[dict[str, Any]]:
    """The detections in one picture."""
    answer = requests.post(f"{url}/v1/detect", body, timeout=LIMIT_S)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["detections"]
    return found
