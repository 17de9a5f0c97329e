"""Sends one frame to the service and reads the answer; waits politely where the service asks for it.

A detection changes nothing on the server, so sending a frame again is always safe.

`detect_in_order`: keeps several frames on their way and gives their answers in order: [Frame] -> `Sender` [Answer] ->
[Result].
"""

import json
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import msgspec
import pybase64
import requests

from framefleet.client.sources import Frame, Frames, MediaError
from framefleet.draw import Pixels
from framefleet.http.refusal import key_advice
from framefleet.http.session import open_session
from framefleet.wire.answers import Detection
from framefleet.wire.timing import read_server_timing

_RATE_WINDOW = 30


_CONNECT_LIMIT_S = 3.05
_OK = 200
_NETWORK_REASONS = (
    "Connection refused",
    "Name or service not known",
    "Temporary failure in name resolution",
    "No route to host",
    "timed out",
)
_RETRIED = (429, 502, 503)  # over the client's rate, nothing behind the balancer, or all of it busy


class SendError(Exception):
    """A frame was refused or could not be delivered; the message says where, what and the fix."""


class SendingStopped(Exception):
    """The client is ending; nobody waits for this frame any more."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a frame is sent again.

    Attributes:
        attempts: times a frame is sent at most.
        first_wait_s: before the second attempt; doubled for each one after it.
        longest_wait_s: bounds every wait, also the one that the server asks for.
    """

    attempts: int = 8
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0

    def wait_s(self, attempt: int, retry_after: str | None, jitter: float) -> float:
        """Seconds to wait after a failed attempt.

        Args:
            attempt: 1 for the first one.
            retry_after: the server's `Retry-After`; a date is ignored.
            jitter: 0 to 1, spreads clients that failed at the same moment.
        """
        if retry_after is not None and retry_after.strip().isdecimal():
            return min(int(retry_after), self.longest_wait_s) * (1 + jitter / 4)
        wait: float = min(self.first_wait_s * 2 ** (attempt - 1), self.longest_wait_s)
        return wait * (1 + jitter) / 2


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service found in one frame.

    Attributes:
        detections: highest score first, in px of the frame.
        latency_ms: from sending to the whole answer, of the attempt that succeeded.
        retries: attempts that failed before it.
        instance: name of the instance that answered, empty when it did not say.
        stages_ms: the server's own timing by stage, empty when it did not say.
    """

    detections: Sequence[Detection]
    latency_ms: float
    retries: int = 0
    instance: str = ""
    stages_ms: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Wire:
    """How frames and answers look on the wire: `path` with query, `encode` a frame, `read` an answer's JSON."""

    path: str
    encode: Callable[[Pixels], bytes]
    read: Callable[[Any], list[Detection]]


def jpeg_wire(quality: int, conf: float | None) -> Wire:
    """`/v1/detect` with JPEG bodies.

    Args:
        quality: of the JPEG, 1 to 100.
        conf: score that detections must exceed; None leaves it to the service.
    """

    def encode(pixels: Pixels) -> bytes:
        return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()

    return Wire("/v1/detect" + ("" if conf is None else f"?conf={conf:g}"), encode, _read_native)


def raw_wire(names: Sequence[str]) -> Wire:
    """The first server's protocol: base64 of the raw BGR bytes in JSON text, class numbers for names.

    Args:
        names: class names by number; a class beyond them is shown as `class N`.
    """

    def read(document: Any) -> list[Detection]:
        return [_first_server_box(key, values, names) for entry in document for key, values in entry.items()]

    return Wire("/predict", _encode_raw, read)


class _TryAgain(Exception):
    """An attempt failed in a way that may pass; `retry_after` is what the server said about when."""

    def __init__(self, reason: str, retry_after: str | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Sender:
    """Sends frames from any number of threads, over as many kept-alive connections as are busy at once.

    Args:
        url: base address of the service or its balancer.
        wire: protocol.
        policy: when a frame is sent again.
        timeout_s: longest wait for one answer.
        stopped: ends waits and sends nothing more once it is set.
        on_retry: told why a frame is sent again, from any thread.
        jitter: gives 0 to 1.
        clock: seconds, monotonic.
        key: API key; empty sends none.
        cacert: certificates to trust, see `open_session`.
    """

    def __init__(
        self,
        url: str,
        wire: Wire,
        *,
        policy: RetryPolicy | None = None,
        timeout_s: float = 30,
        stopped: threading.Event | None = None,
        on_retry: Callable[[str], None] = lambda reason: None,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.perf_counter,
        key: str = "",
        cacert: Path | None = None,
    ) -> None:
        self._cacert = cacert
        self._key = key
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._url = url.rstrip("/")
        self._wire = wire
        self._policy = policy or RetryPolicy()
        self._timeout_s = timeout_s
        self._stopped = stopped or threading.Event()
        self._on_retry = on_retry
        self._jitter = jitter
        self._clock = clock
        self._idle: list[requests.Session] = []  # appending and popping are atomic

    def send(self, pixels: Pixels) -> Answer:
        """Sends one frame until it is answered.

        Raises:
            SendError: refused, unanswered in time, or undeliverable after the last attempt.
            SendingStopped: the client is ending.
        """
        body = self._wire.encode(pixels)
        for attempt in range(1, self._policy.attempts + 1):
            if self._stopped.is_set():
                raise SendingStopped
            try:
                return replace(self._attempt(body), retries=attempt - 1)
            except _TryAgain as failure:
                last = failure
            if attempt < self._policy.attempts:
                self._on_retry(str(last))
                self._stopped.wait(self._policy.wait_s(attempt, last.retry_after, self._jitter()))
        raise SendError(f"{self._url}: {last}, {self._policy.attempts} times in a row; is the service up?")

    def _attempt(self, body: bytes) -> Answer:
        address = self._url + self._wire.path
        began = self._clock()
        try:
            response = self._post(address, body)
        except requests.ReadTimeout as error:
            raise SendError(f"{address}: no answer within {self._timeout_s:g} s; is the service stuck?") from error
        except requests.exceptions.SSLError as error:
            raise SendError(
                f"{address}: no trusted https ({_tls_reason(error)}); name the service's certificate, or that of who "
                "signed it, with --cacert"
            ) from error
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise _TryAgain(_unreachable(error)) from error
        except OSError as error:  # what requests raises is one, and it raises plain ones for files of certificates
            raise SendError(f"{address}: {error}") from error
        if response.status_code in _RETRIED:
            raise _TryAgain(_problem(response), response.headers.get("Retry-After"))
        if response.status_code != _OK:
            request_id = response.headers.get("X-Request-ID")
            advice = key_advice(response.status_code, self._key)
            why = f"answered {response.status_code}; {advice}" if advice else _problem(response)
            raise SendError(f"{address}: {why}" + (f" (request id {request_id})" if request_id else ""))
        return self._answer(response, (self._clock() - began) * 1000)

    def _post(self, address: str, body: bytes) -> requests.Response:
        try:
            session = self._idle.pop()
        except IndexError:
            session = open_session(self._cacert)
            session.auth = self._authorize
        response = session.post(address, body, timeout=(_CONNECT_LIMIT_S, self._timeout_s))
        self._idle.append(session)
        return response

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Adds the key to one request; the session itself holds no secret."""
        request.headers.update(self._headers)
        return request

    def _answer(self, response: requests.Response, latency_ms: float) -> Answer:
        try:
            detections = self._wire.read(response.json())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SendError(
                f"{self._url}: the answer is no detections ({error}); is this the detector's address?"
            ) from error
        return Answer(
            detections=detections,
            latency_ms=latency_ms,
            instance=response.headers.get("X-Instance", ""),
            stages_ms=read_server_timing(response.headers.get("Server-Timing", "")),
        )


def _read_native(document: Any) -> list[Detection]:
    return msgspec.convert(document["detections"], list[Detection])


def _first_server_box(key: str, values: Sequence[float], names: Sequence[str]) -> Detection:
    class_id = int(key)
    label = names[class_id] if class_id < len(names) else f"class {class_id}"
    return Detection(label, class_id, float(values[4]), _box(values[:4]))


def _box(values: Sequence[float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(value) for value in values)
    return x1, y1, x2, y2


def _encode_raw(pixels: Pixels) -> bytes:
    height, width = pixels.shape[:2]
    image = pybase64.b64encode(pixels.tobytes()).decode()
    return json.dumps({"height": height, "width": width, "image": image}).encode()


def _problem(response: requests.Response) -> str:
    """Status, and the problem document's detail where there is one."""
    status = f"answered {response.status_code} {response.reason}"
    try:
        return f"{status}: {response.json()['detail']}"
    except (ValueError, KeyError, TypeError):
        return status


def _tls_reason(error: Exception) -> str:
    """OpenSSL's own words, without the layers around them."""
    found = re.search(r"\[SSL[^\]]*\] ?([^(')]+)", str(error))
    return found[1].strip() if found else str(error)


def _unreachable(error: Exception) -> str:
    text = str(error)
    reason = next((known for known in _NETWORK_REASONS if known in text), None)
    return f"cannot be reached ({reason.lower()})" if reason else "the connection broke"


@dataclass(frozen=True, slots=True)
class Result:
    """One `frame` with its `answer`, and the `fps` at which answers arrive at the moment."""

    frame: Frame
    answer: Answer
    fps: float


def detect_in_order(
    frames: Frames,
    send: Callable[[Pixels], Answer],
    *,
    in_flight: int,
    limit: int | None,
    stopped: threading.Event,
    clock: Callable[[], float] = time.perf_counter,
) -> Generator[Result, None, None]:
    """Keeps several frames on their way and gives the answers in the frames' order.

    Args:
        frames: closed when this ends.
        send: called in up to `in_flight` threads, which are never waited for once this has ended.
        in_flight: frames on their way at once.
        limit: frames taken at most.
        stopped: set here at the end, so that threads give up their waits.
        clock: seconds, monotonic.

    Raises:
        SendError, MediaError: of the first frame, in order, that failed; what a source lacks comes behind all answers.
    """
    arrivals = deque([clock()], maxlen=_RATE_WINDOW)
    waiting: deque[tuple[Frame, Future[Answer]]] = deque()
    lack: MediaError | None = None

    def oldest() -> Result:
        frame, future = waiting.popleft()
        answer = future.result()
        arrivals.append(clock())
        return Result(frame, answer, (len(arrivals) - 1) / max(arrivals[-1] - arrivals[0], 1e-6))

    with closing(frames):
        try:
            taken = islice(frames, limit)
            while True:
                try:
                    frame = next(taken, None)
                except MediaError as error:
                    lack, frame = error, None
                if frame is None:
                    break
                waiting.append((frame, _in_background(send, frame.pixels)))
                while waiting and (len(waiting) >= in_flight or waiting[0][1].done()):
                    yield oldest()
            while waiting:
                yield oldest()
            if lack:
                raise lack
        finally:
            stopped.set()


def _in_background(send: Callable[[Pixels], Answer], pixels: Pixels) -> Future[Answer]:
    """Runs in a daemon thread: Ctrl-C must not wait for a service that is stuck, as a thread pool would."""
    future: Future[Answer] = Future()

    def work() -> None:
        try:
            future.set_result(send(pixels))
        except BaseException as error:  # it belongs to whoever asks for the result
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future
