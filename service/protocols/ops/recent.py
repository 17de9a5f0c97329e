"""What an instance did in the last minute, for `/status` and the fleet page, which have no Prometheus at hand."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from framefleet.wire.answers import Count, Figure
from framefleet.wire.percentiles import percentiles

WINDOW_S = 60.0
SHED = 503
FAILED = range(500, 600)
GOOD = range(200, 400)
# At 500 requests a second the window is shorter than a minute, and says so.
MOST = 30_000


TimeOfGood = Annotated[Figure | None, Meta(description="Of good answers, ms; null without any.")]


@dataclass(frozen=True, slots=True)
class RecentFigures:
    """Answers to POST requests in the last minute.

    Attributes:
        window_s: s that the figures cover.
        requests: answers, of any status.
        rate: good answers a second.
        p50_ms: median time of a good answer, ms; None without any.
        p95_ms: 95th percentile, ms; None without any.
        failed: answers of status 5xx other than 503.
        shed: answers of status 503.
    """

    window_s: Figure
    requests: Count
    rate: Figure
    p50_ms: TimeOfGood
    p95_ms: TimeOfGood
    failed: Count
    shed: Count


class Recent:
    """Remembers when each answer was given, how long it took and its status.

    Args:
        clock: s, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._answers: deque[tuple[float, float, int]] = deque(maxlen=MOST)
        self._lock = threading.Lock()

    def record(self, ms: float, status: int) -> None:
        """Notes one answer: ms it took, and its HTTP status."""
        with self._lock:
            self._answers.append((self._clock(), ms, status))

    def figures(self) -> RecentFigures:
        """The figures as they are now."""
        now = self._clock()
        with self._lock:
            while self._answers and now - self._answers[0][0] > WINDOW_S:
                self._answers.popleft()
            answers = list(self._answers)
        full = len(answers) == MOST
        window = now - answers[0][0] if full else min(WINDOW_S, now - self._began)
        good = [ms for _, ms, status in answers if status in GOOD]
        p50, p95 = percentiles(good, 50, 95) if good else (None, None)
        shed = sum(status == SHED for _, _, status in answers)
        return RecentFigures(
            window_s=round(window, 1),
            requests=len(answers),
            rate=round(len(good) / window, 2) if window else 0.0,
            p50_ms=None if p50 is None else round(p50, 1),
            p95_ms=None if p95 is None else round(p95, 1),
            failed=sum(status in FAILED for _, _, status in answers) - shed,
            shed=shed,
        )
