"""A camera load: frames at their due times whatever the fleet does, each answer compared with the idle fleet's.

Three of four requests use connections that are kept alive, every fourth opens its own. A connection the server has
closed while it was idle is opened anew, as every HTTP client does; a request that was sent is never sent again.
"""

import http.client
import json
import select
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Literal
from urllib.parse import urlsplit

from framefleet.wire.answers import Detection
from framefleet.wire.reading import MalformedAnswerError, read_answer
from framefleet.wire.same import Tolerance, same

Outcome = Literal["right", "wrong", "refused", "failed"]
ROUTE = "/v1/detect"
OK, UNAVAILABLE = 200, 503
TIMEOUT_S = 60.0
SENDERS = 96
ONE_SHOT_EVERY = 4
ALIKE = Tolerance(score=0.02)
MEASURE_S = 4.0
MEASURE_CLIENTS = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """One request.

    Attributes:
        due: when it should have been sent; s, monotonic.
        ms: from then until its answer was there.
        outcome: right; wrong (another answer than the reference); refused (503 with Retry-After); failed.
        detail: what was wrong with it.
    """

    due: float
    ms: float
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG and what the idle fleet finds in it."""

    data: bytes
    reference: tuple[Detection, ...]


class Sender:
    """One client's connection."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc
        self._kept: http.client.HTTPConnection | None = None

    def send(self, data: bytes, *, one_shot: bool = False) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Sends a picture; returns status, headers and body.

        Raises:
            OSError: no answer.
            http.client.HTTPException: no answer that can be read.
        """
        connection = self._fresh() if one_shot else self._keep()
        try:
            connection.request("POST", ROUTE, data, {"Connection": "close"} if one_shot else {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise
        finally:
            if one_shot:
                connection.close()

    def close(self) -> None:
        """Closes the kept connection."""
        if self._kept:
            self._kept.close()

    def _fresh(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)

    def _keep(self) -> http.client.HTTPConnection:
        if self._kept is None:
            self._kept = self._fresh()
        # Readable while nothing was asked: the server has closed it.
        elif self._kept.sock is not None and select.select([self._kept.sock], [], [], 0)[0]:
            self._kept.close()
        return self._kept


class Load:
    """Cameras at work.

    Args:
        url: what they send to.
        pictures: what they send, in turn.
        rate: frames per second of all cameras together.
    """

    def __init__(self, url: str, pictures: Sequence[Picture], rate: float) -> None:
        self._url, self._pictures, self.rate = url, pictures, rate
        self._due: SimpleQueue[tuple[float, int] | None] = SimpleQueue()
        self._stop = threading.Event()
        self._samples: list[Sample] = []

    @contextmanager
    def running(self) -> Iterator["Load"]:
        """Sends as long as the block lasts, and waits for the last answers."""
        threads = [threading.Thread(target=self._serve) for _ in range(SENDERS)]
        threads.append(threading.Thread(target=self._schedule))
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in reversed(threads):
                thread.join()

    def between(self, begin: float, end: float) -> list[Sample]:
        """The requests that were due in a span of time; waits for their answers."""
        expected = round((end - begin) * self.rate)
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            found = [sample for sample in self._samples if begin <= sample.due < end]
            if len(found) >= expected - 1 or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

    def _schedule(self) -> None:
        began, number = time.monotonic(), 0
        while not self._stop.is_set():
            due = began + number / self.rate
            if (wait := due - time.monotonic()) > 0:
                time.sleep(wait)
            self._due.put((due, number))
            number += 1
        for _ in range(SENDERS):
            self._due.put(None)

    def _serve(self) -> None:
        sender = Sender(self._url)
        while (task := self._due.get()) is not None:
            due, number = task
            picture = self._pictures[number % len(self._pictures)]
            outcome, detail = attempt(sender, picture, one_shot=number % ONE_SHOT_EVERY == 0)
            self._samples.append(Sample(due, (time.monotonic() - due) * 1000, outcome, detail))
        sender.close()


def attempt(sender: Sender, picture: Picture, *, one_shot: bool = False) -> tuple[Outcome, str]:
    """Sends a picture once and judges the answer."""
    try:
        status, headers, body = sender.send(picture.data, one_shot=one_shot)
    except (OSError, http.client.HTTPException) as error:
        return "failed", type(error).__name__
    if status == UNAVAILABLE and headers["Retry-After"]:
        return "refused", str(status)
    if status != OK:
        return "failed", f"{status} {_code(body)}"
    return ("right", "") if same(read_boxes(body), picture.reference, ALIKE) else ("wrong", "another answer")


def make_pictures(url: str, frames: Sequence[bytes]) -> tuple[Picture, ...]:
    """Asks an idle fleet for the reference of each frame.

    Raises:
        OSError: it does not answer.
    """
    sender = Sender(url)
    pictures = tuple(Picture(frame, read_boxes(sender.send(frame)[2])) for frame in frames)
    sender.close()
    return pictures


def measure(url: str, pictures: Sequence[Picture]) -> float:
    """Frames per second that one instance answers to clients which each send when they have their answer."""

    def client(offset: int) -> int:
        sender, answered = Sender(url), 0
        while time.monotonic() < end:
            answered += attempt(sender, pictures[(offset + answered) % len(pictures)])[0] == "right"
        sender.close()
        return answered

    end = time.monotonic() + MEASURE_S
    with ThreadPoolExecutor(MEASURE_CLIENTS) as pool:
        return sum(pool.map(client, range(MEASURE_CLIENTS))) / MEASURE_S


def read_boxes(body: bytes) -> tuple[Detection, ...]:
    """The boxes of an answer, best first; one that is like no other if it is not readable."""
    try:
        return read_answer(body).detections
    except MalformedAnswerError:
        return (Detection("", -1, 0.0, (0.0, 0.0, 0.0, 0.0)),)


def _code(body: bytes) -> str:
    try:
        return str(json.loads(body)["code"])
    except (ValueError, KeyError, TypeError):
        return ""
