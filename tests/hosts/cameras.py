"""Cameras that send a picture at fixed moments, whatever the answers do, and note every answer."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import requests

from tests.e2e.fleet import direct_session, wait_until

TIMEOUT_S = 20
PERCENT = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one picture.

    Attributes:
        camera: number of the camera that sent it.
        due_s: when it should have been sent, monotonic.
        ms: from then to its answer.
        instance: who answered.
        failure: in words; empty for a right answer.
    """

    camera: int
    due_s: float
    ms: float
    instance: str
    failure: str


class Cameras:
    """See `cameras`; `answers` grows while they run."""

    def __init__(self, urls: Sequence[str], picture: bytes, count: int, fps: float) -> None:
        self._urls, self._picture, self._count, self._period_s = urls, picture, count, 1 / fps
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.answers: list[Answer] = []

    def run(self, number: int) -> None:
        """Is one camera, until stopped; cameras take turns within the period."""
        url = f"{self._urls[number % len(self._urls)]}/v1/detect"
        due = time.monotonic() + self._period_s * number / self._count
        with direct_session() as session:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                answer = self._send(session, url, number, due)
                with self._lock:
                    self.answers.append(answer)
                due += self._period_s

    def stop(self) -> None:
        self._stop.set()

    @property
    def failures(self) -> list[str]:
        with self._lock:
            return [answer.failure for answer in self.answers if answer.failure]

    @property
    def by_instance(self) -> Counter[str]:
        """Right answers of each instance."""
        with self._lock:
            return Counter(answer.instance for answer in self.answers if not answer.failure)

    def wait_for(self, count: int) -> None:
        """Waits until that many more pictures got a right answer."""
        target = self.by_instance.total() + count
        wait_until(f"{count} more answers", lambda: self.by_instance.total() >= target)

    def wait_for_those_under_way(self) -> None:
        """Waits until whatever was sent before now was answered, or has failed: a camera sends one after the other."""
        now = time.monotonic()
        everyone = set(range(self._count))
        wait_until("answers of every camera", lambda: self._answered_since(now) == everyone, 3 * TIMEOUT_S)

    def _answered_since(self, moment_s: float) -> set[int]:
        with self._lock:
            return {answer.camera for answer in self.answers if answer.due_s >= moment_s}

    def p99_ms(self, begin_s: float, end_s: float) -> float:
        """Of the pictures that were due in between, by nearest rank."""
        with self._lock:
            times = sorted(answer.ms for answer in self.answers if begin_s <= answer.due_s < end_s)
        return times[-(-len(times) * 99 // PERCENT) - 1]

    def _send(self, session: requests.Session, url: str, number: int, due: float) -> Answer:
        instance = ""
        try:
            answer = session.post(url, data=self._picture, timeout=TIMEOUT_S)
            instance = answer.headers.get("X-Instance", "")
            failure = "" if answer.ok else f"{answer.status_code} {answer.text}"
        except requests.RequestException as error:
            failure = repr(error)
        return Answer(number, due, (time.monotonic() - due) * 1000, instance, failure)


@contextmanager
def cameras(*urls: str, picture: bytes, count: int = 4, fps: float = 5) -> Iterator[Cameras]:
    """Cameras at work for as long as the block lasts."""
    load = Cameras(urls, picture, count, fps)
    threads = [threading.Thread(target=load.run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop()
        for thread in threads:
            thread.join(2 * TIMEOUT_S)
