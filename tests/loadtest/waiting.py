"""Waits for what comes about by itself, with a limit no working machine needs."""

import time
from collections.abc import Callable

LIMIT_S = 120


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
