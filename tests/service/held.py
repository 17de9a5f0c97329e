"""A real instance whose engine is kept busy for exactly as long as a test likes."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import requests

from tests.instance import RunningInstance, running_instance, wait_until
from tests.service.faulty_engine import HELD, HOLD, LET_GO, SIZE

LIMIT_S = 60
# Nothing but the test may end the wait.
UNLIMITED = {"deadline_ms": 600_000, "watchdog_s": 600, "self_test_s": 0}


@dataclass(frozen=True, slots=True)
class HeldInstance:
    """The instance, the answer to come to the frame in its engine, and what lets that frame go."""

    instance: RunningInstance
    first: "Future[requests.Response]"
    let_go: Callable[[], None]

    def wait_for_places(self, taken: int) -> None:
        """Waits until so many requests are in the instance."""
        wait_until(f"{taken} places taken", lambda: self.status()["queue"]["admitted"] == taken)

    def status(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = requests.get(f"{self.instance.url}/status", timeout=LIMIT_S).json()
        return found


def picture(mark: int) -> bytes:
    """A PNG of one colour; the faulty engine does what its code says."""
    return bytes(cv2.imencode(".png", np.full((SIZE, SIZE, 3), mark, np.uint8))[1])


@contextmanager
def held_instance(port: int, folder: Path, **settings: object) -> Iterator[HeldInstance]:
    """An instance that has one frame in its engine and answers it when it is let go, at the latest at the end."""
    limits = {**UNLIMITED, "cache": folder, **settings}
    let_go = (folder / LET_GO).touch
    with (
        running_instance(port, "-", folder / "log", "tests.service.workers.FaultyWorker", **limits) as instance,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(requests.post, f"{instance.url}/predict", picture(HOLD), timeout=LIMIT_S)
        try:
            wait_until("a frame in the engine", (folder / HELD).exists)
            yield HeldInstance(instance, first, let_go)
        finally:
            let_go()
