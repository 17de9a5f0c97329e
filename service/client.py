"""Detects objects in a video, picture, folder or camera with a running service: `python -m service.client SOURCE`.

video [Frame] -> sender, several at once [Answer] -> in order [Result] -> drawn, saved, shown, counted [Tally].
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("service.client")


import argparse
import json
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from framefleet.address import KEY_VARIABLE, AddressError, service_address
from framefleet.command import carry_out
from framefleet.failure import explain_os_error
from framefleet.running import URL_HELP, VAR_HELP, asked_address
from framefleet.text_file import NotText, read_text
from service.draw import Pixels, draw, draw_caption
from service.sender import Answer, Sender, SendError, Wire, jpeg_wire, raw_wire
from service.tally import Tally, summary
from service.video import (
    Frame,
    Frames,
    MediaError,
    Sink,
    Source,
    check_target,
    open_sink,
    open_source,
    open_window,
    silence_libraries,
)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
_RATE_WINDOW = 30


@dataclass(frozen=True, slots=True)
class Options:
    """The command line; see `--help`."""

    source: str
    url: str | None
    var: Path
    save: Path | None
    show: bool
    raw: bool
    names: Path | None
    conf: float | None
    quality: int
    in_flight: int
    limit: int | None
    json: Path | None
    verbose: bool


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
        SendError, MediaError: of the first frame, in order, that failed.
    """
    arrivals = deque([clock()], maxlen=_RATE_WINDOW)
    waiting: deque[tuple[Frame, Future[Answer]]] = deque()

    def oldest() -> Result:
        frame, future = waiting.popleft()
        answer = future.result()
        arrivals.append(clock())
        return Result(frame, answer, (len(arrivals) - 1) / max(arrivals[-1] - arrivals[0], 1e-6))

    with closing(frames):
        try:
            for frame in islice(frames, limit):
                waiting.append((frame, _in_background(send, frame.pixels)))
                while waiting and (len(waiting) >= in_flight or waiting[0][1].done()):
                    yield oldest()
            while waiting:
                yield oldest()
        finally:
            stopped.set()


def run(
    options: Options, source: Source, wire: Wire, tally: Tally, stopped: threading.Event, *, url: str, key: str
) -> None:
    """Sends every frame; shows, saves and counts what comes back.

    Raises:
        SendError, MediaError, OSError: the run cannot go on.
    """
    sender = Sender(url, wire, stopped=stopped, on_retry=_told_once(f"client: {url}"), key=key)
    with ExitStack() as stack:
        sinks = _open_sinks(options, source, stopped, stack)
        lines = stack.enter_context(options.json.open("w", encoding="utf-8")) if options.json else None
        bar = stack.enter_context(_progress_bar(source, options.limit))
        found = detect_in_order(
            source.frames(), sender.send, in_flight=options.in_flight, limit=options.limit, stopped=stopped
        )
        for result in stack.enter_context(closing(found)):
            tally.add(result.answer)
            if lines:
                lines.write(json_line(result))
            _annotate_into(sinks, result)
            if options.verbose:
                bar.write(frame_line(result))
            bar.update()
            bar.set_postfix({"sent again": tally.retries} if tally.retries else {}, refresh=False)
            if stopped.is_set():
                return


def frame_line(result: Result) -> str:
    """One frame's timing in one line."""
    answer = result.answer
    stages = " ".join(f"{stage} {duration_ms:.1f}" for stage, duration_ms in answer.stages_ms.items())
    parts = [
        f"frame {result.frame.index}: {len(answer.detections)} found, {answer.latency_ms:.1f} ms",
        f"({stages})" if stages else "",
        answer.instance,
        f"sent {answer.retries + 1} times" if answer.retries else "",
    ]
    return " ".join(part for part in parts if part)


def json_line(result: Result) -> str:
    """One frame's detections as a line of JSON."""
    document = {
        "frame": result.frame.index,
        "source": result.frame.name,
        "detections": [asdict(detection) for detection in result.answer.detections],
        "latency_ms": round(result.answer.latency_ms, 2),
        "instance": result.answer.instance,
    }
    return json.dumps(document) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 done, 1 the service or an output failed, 2 wrong arguments or source, 130 interrupted."""
    options = _parse(arguments)
    silence_libraries()
    stopped, tally = threading.Event(), Tally()
    began, code = time.perf_counter(), 0
    try:
        source = open_source(options.source)
        if options.save:
            check_target(options.save, source)
        wire = _wire(options)
        url = asked_address(options.url, options.var)
    except NotText as error:
        return _fail(f"--names {options.names}: {error}; {error.fix}", EXIT_USAGE)
    except (MediaError, AddressError, OSError) as error:
        return _fail(error, EXIT_USAGE)
    try:
        run(options, source, wire, tally, stopped, url=url, key=os.environ.get(KEY_VARIABLE, ""))
    except KeyboardInterrupt:
        code = _fail("interrupted", EXIT_INTERRUPTED)
    except (SendError, MediaError, OSError) as error:
        code = _fail(error, EXIT_FAILED)
    if tally.frames or not code:
        print(summary(tally, time.perf_counter() - began))
    if options.save and tally.frames:
        print(f"{'saved':<11} {options.save}")
    return code


def command() -> NoReturn:
    """What is installed as `framefleet-detect`."""
    carry_out("service.client")


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


def _annotate_into(sinks: Sequence[Sink], result: Result) -> None:
    if not sinks:
        return
    draw(result.frame.pixels, result.answer.detections)
    draw_caption(result.frame.pixels, f"{result.fps:.1f} fps")
    for sink in sinks:
        sink.put(result.frame)


def _open_sinks(options: Options, source: Source, stopped: threading.Event, stack: ExitStack) -> list[Sink]:
    sinks = [open_sink(options.save, source)] if options.save else []
    if options.show:
        sinks.append(open_window(stopped.set))
    for sink in sinks:
        stack.callback(sink.close)
    return sinks


def _told_once(start: str) -> Callable[[str], None]:
    """Prints each reason for a retry the first time it is met: a busy service would fill the screen."""
    told: set[str] = set()

    def tell(reason: str) -> None:
        if reason not in told:
            told.add(reason)
            tqdm.write(f"{start}: {reason}; trying again", file=sys.stderr)

    return tell


def _progress_bar(source: Source, limit: int | None) -> "tqdm[Any]":
    known = [count for count in (source.count, limit) if count is not None]
    return tqdm(total=min(known, default=None), unit="frame", desc=Path(source.name).name, disable=None)


def _wire(options: Options) -> Wire:
    if not options.raw:
        return jpeg_wire(options.quality, options.conf)
    names = read_text(options.names).split("\n") if options.names else []
    return raw_wire([name.strip() for name in names if name.strip()])


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m service.client",
        description="Detect objects in a video, picture, folder or camera with a running service.",
        epilog=f"A service that asks for an API key gets the one in the environment variable {KEY_VARIABLE}.",
    )
    add = parser.add_argument
    add("source", help="video or picture file, folder of pictures, camera number, or rtsp:// address")
    add("--url", help=URL_HELP)
    add("--var", type=Path, default=Path("var"), metavar="DIR", help=VAR_HELP)
    add("--save", type=Path, metavar="FILE", help="annotated .mp4, .webm or .avi; a .jpg or .png for a picture")
    add("--show", action="store_true", help="show the annotated frames in a window; q ends")
    add("--raw", action="store_true", help="send the first protocol: raw pixels as base64 JSON to /predict")
    add("--names", type=Path, metavar="FILE", help="class names for --raw, one a line")
    add("--conf", type=_number(float, 0, 1), metavar="X", help="score that detections must exceed, 0 to 1")
    add("--quality", type=_number(int, 1, 100), default=90, help="JPEG quality (default: %(default)s)")
    add("--in-flight", type=_number(int, 1, 64), default=4, help="frames on their way at once (default: %(default)s)")
    add("--limit", type=_number(int, 1, None), metavar="N", help="stop after N frames")
    add("--json", type=Path, metavar="FILE", help="write one line of JSON per frame")
    add("-v", "--verbose", action="store_true", help="print the timing of every frame")
    options = Options(**vars(parser.parse_args(arguments)))
    try:
        service_address(options.url or "http://any")
    except AddressError as error:
        parser.error(f"--url: {error}")
    if options.raw and options.conf is not None:
        parser.error("--conf: the first protocol's threshold is fixed at 0.35; leave --conf or --raw out")
    if options.names and not options.raw:
        parser.error("--names: only --raw needs names, other answers carry them; leave it out")
    return options


def _number(kind: Callable[[str], float], low: float, high: float | None) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= (math.inf if high is None else high):
            limits = f"at least {low}" if high is None else f"{low} to {high}"
            name = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {name}, {limits}")
        return value

    return read


def _fail(reason: object, code: int) -> int:
    print(f"client: {explain_os_error(reason) if isinstance(reason, OSError) else reason}", file=sys.stderr)
    return code
