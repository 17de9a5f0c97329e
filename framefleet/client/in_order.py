"""Keeps several frames on their way and gives their answers in order: [Frame] -> sender [Answer] -> [Result]."""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from framefleet.client.sender import Answer
from framefleet.client.sources import Frame, Frames, MediaError
from framefleet.draw import Pixels

_RATE_WINDOW = 30


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
