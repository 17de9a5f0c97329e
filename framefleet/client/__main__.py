"""Detects objects in a video, picture, folder or camera with a running service: `python -m framefleet.client SOURCE`.

video [Frame] -> sender, several at once [Answer] -> in order [Result] -> drawn, saved, shown, counted [Tally].

`Tally`, `summary`: counts what the client's run amounts to, and sums it up for a person.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("framefleet.client.__main__")


import argparse
import errno
import json
import math
import statistics
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import cv2
from msgspec.structs import asdict
from tqdm import tqdm

from framefleet.client.sender import Answer, Result, Sender, SendError, Wire, detect_in_order, jpeg_wire, raw_wire
from framefleet.client.sink import Sink, open_sink, open_window, target_for
from framefleet.client.sources import Incomplete, MediaError, Source, open_source, silence_libraries
from framefleet.command import carry_out
from framefleet.draw import Pixels, draw, draw_caption
from framefleet.failure import explain_os_error
from framefleet.http.address import KEY_VARIABLE, AddressError, service_address
from framefleet.http.api_key import BadKeyError, given_key
from framefleet.http.running import URL_HELP, VAR_HELP, asked_address
from framefleet.text_file import NotText, read_text
from framefleet.wire.percentiles import percentiles

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INCOMPLETE = 3
EXIT_INTERRUPTED = 130
_KEPT_TIMINGS = 100_000  # a camera may run for weeks


@dataclass(slots=True)
class Tally:
    """What a run amounted to so far; timings are those of the latest frames.

    Attributes:
        frames: frames answered.
        retries: attempts that failed and were repeated.
        labels: detections by class name.
        instances: answers by the instance that gave them.
        latencies_ms: from sending to the answer.
        stages_ms: the server's timings by stage.
    """

    frames: int = 0
    retries: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    instances: Counter[str] = field(default_factory=Counter)
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT_TIMINGS))
    stages_ms: dict[str, deque[float]] = field(default_factory=dict)

    def add(self, answer: Answer) -> None:
        """Counts one answer."""
        self.frames += 1
        self.retries += answer.retries
        self.labels.update(detection.label for detection in answer.detections)
        self.instances.update([answer.instance] if answer.instance else [])
        self.latencies_ms.append(answer.latency_ms)
        for stage, duration_ms in answer.stages_ms.items():
            self.stages_ms.setdefault(stage, deque(maxlen=_KEPT_TIMINGS)).append(duration_ms)


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
    cacert: Path | None
    verbose: bool


def run(
    options: Options,
    source: Source,
    *,
    send: Callable[[Pixels], Answer],
    sinks: Sequence[Sink],
    tally: Tally,
    stopped: threading.Event,
) -> None:
    """Sends every frame; shows, saves and counts what comes back.

    Args:
        options: the command line.
        source: opened.
        send: sends one frame; called in several threads.
        sinks: take the annotated frames; closed at the end.
        tally: counts the answers.
        stopped: ends the run when it is set, and is set at its end.

    Raises:
        SendError, MediaError: the run cannot go on, the source lacks frames, or an output could not be written.
        OSError: standard output is full or closed.
    """
    with ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)
        write = stack.enter_context(_lines(options.json)) if options.json else None
        bar = stack.enter_context(_progress_bar(source, options.limit))
        found = detect_in_order(
            source.frames(), send, in_flight=options.in_flight, limit=options.limit, stopped=stopped
        )
        for result in stack.enter_context(closing(found)):
            tally.add(result.answer)
            if write:
                write(json_line(result))
            _annotate_into(sinks, result)
            if options.verbose:
                bar.write(frame_line(result))
            bar.update()
            bar.set_postfix({"sent again": tally.retries} if tally.retries else {}, refresh=False)
            if stopped.is_set():
                return
        if not tally.frames:
            raise MediaError(f"{source.name}: no frame in it; give one that has some")


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
    """Command line; the exit codes are those of `--help`."""
    try:
        return _detect(_parse(arguments))
    except OSError as error:
        if error.errno in (None, errno.EPIPE) or error.filename:
            raise
        raise OSError(error.errno, error.strerror, "standard output") from error  # every other output names itself


def _detect(options: Options) -> int:
    silence_libraries()
    stopped, tally = threading.Event(), Tally()
    began, code = time.perf_counter(), 0
    try:
        source = open_source(options.source)
        url = asked_address(options.url, options.var)
        saving = open_sink(target_for(options.save, source), source) if options.save else None
        windows = [open_window(stopped.set)] if options.show else []
        sender = _sender(options, url, stopped)
    except NotText as error:
        return _fail(f"--names {options.names}: {error}; {error.fix}", EXIT_USAGE)
    except (MediaError, AddressError, BadKeyError, OSError) as error:
        return _fail(error, EXIT_USAGE)
    try:
        sinks = [*([saving] if saving else []), *windows]
        run(options, source, send=sender.send, sinks=sinks, tally=tally, stopped=stopped)
    except KeyboardInterrupt:
        code = _fail("interrupted", EXIT_INTERRUPTED)
    except Incomplete as error:
        code = _fail(error, EXIT_INCOMPLETE)
    except (SendError, MediaError, cv2.error) as error:
        code = _fail(error, EXIT_FAILED)
    if tally.frames or not code:
        print(summary(tally, time.perf_counter() - began))
    if saving and saving.saved:
        print(f"{'saved':<11} {saving.saved}")
    return code


def command() -> NoReturn:
    """What is installed as `framefleet-detect`."""
    carry_out("framefleet.client.__main__")


def _annotate_into(sinks: Sequence[Sink], result: Result) -> None:
    if not sinks:
        return
    draw(result.frame.pixels, result.answer.detections)
    draw_caption(result.frame.pixels, f"{result.fps:.1f} fps")
    for sink in sinks:
        sink.put(result.frame)


@contextmanager
def _lines(path: Path) -> Iterator[Callable[[str], None]]:
    """Writes the lines of `--json`, each at once: a full disk is to be known at the first one it takes no more."""

    @contextmanager
    def checked() -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = f"cannot be written ({error.strerror}); free some space, or try another"
            raise MediaError(f"--json {path}: {reason}") from error

    def write(line: str) -> None:
        with checked():
            file.write(line)

    with checked():
        file = path.open("w", buffering=1, encoding="utf-8")
    try:
        yield write
    finally:
        with checked():
            file.close()


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


def _sender(options: Options, url: str, stopped: threading.Event) -> Sender:
    return Sender(
        url,
        _wire(options),
        stopped=stopped,
        on_retry=_told_once(f"client: {url}"),
        key=given_key(),
        cacert=options.cacert,
    )


def _wire(options: Options) -> Wire:
    if not options.raw:
        return jpeg_wire(options.quality, options.conf)
    names = read_text(options.names).split("\n") if options.names else []
    return raw_wire([name.strip() for name in names if name.strip()])


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m framefleet.client",
        description="Detect objects in a video, picture, folder or camera with a running service.",
        epilog=f"A service that asks for an API key gets the one in the environment variable {KEY_VARIABLE}. "
        "Exit codes: 0 every frame was read, answered and saved; 1 the service or an output failed; 2 wrong arguments, "
        "or a source that cannot be opened; 3 part of the source could not be read, the rest was answered (a damaged "
        "clip, an unreadable picture, a camera or stream that broke off); 130 interrupted.",
    )
    add = parser.add_argument
    add("source", help="video or picture file, folder of pictures, camera number, rtsp:// or http:// address")
    add("--url", help=URL_HELP)
    add("--var", type=Path, default=Path("var"), metavar="DIR", help=VAR_HELP)
    add("--save", type=Path, metavar="FILE", help="annotated .mp4, .webm or .avi; of a picture a .jpg or .png")
    add("--show", action="store_true", help="show the annotated frames in a window; q ends")
    add("--raw", action="store_true", help="send the first protocol: raw pixels as base64 JSON to /predict")
    add("--names", type=Path, metavar="FILE", help="class names for --raw, one a line")
    add("--conf", type=_number(float, 0, 1), metavar="X", help="score that detections must exceed, 0 to 1")
    add("--quality", type=_number(int, 1, 100), default=90, help="JPEG quality (default: %(default)s)")
    add("--in-flight", type=_number(int, 1, 64), default=4, help="frames on their way at once (default: %(default)s)")
    add("--limit", type=_number(int, 1, None), metavar="N", help="stop after N frames")
    add("--json", type=Path, metavar="FILE", help="write one line of JSON per frame")
    add("--cacert", type=Path, metavar="FILE", help="certificate to trust for https (default: REQUESTS_CA_BUNDLE)")
    add("-v", "--verbose", action="store_true", help="print the timing of every frame")
    options = Options(**vars(parser.parse_args(arguments)))
    try:
        service_address(options.url or "http://any")
    except AddressError as error:
        parser.error(f"--url: {error}")
    if options.cacert and not options.cacert.exists():
        parser.error(
            f"--cacert {options.cacert}: no such file; give the certificate of the service or of who signed it"
        )
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


def summary(tally: Tally, elapsed_s: float) -> str:
    """The whole run in a few aligned lines."""
    repeated = f", {tally.retries} sent again" if tally.retries else ""
    rows = [("frames", f"{tally.frames} in {elapsed_s:.1f} s{repeated}")]
    if tally.frames:
        p50, p95 = percentiles(tally.latencies_ms, 50, 95)
        rows += [
            ("rate", f"{tally.frames / elapsed_s:.1f} frames/s"),
            ("latency", f"p50 {p50:.1f} ms, p95 {p95:.1f} ms"),
        ]
        found = ", ".join(f"{label} {count}" for label, count in tally.labels.most_common(10))
        rows.append(("detections", f"{tally.labels.total()}" + (f": {found}" if found else "")))
    if tally.stages_ms:
        medians = ", ".join(f"{stage} {statistics.median(values):.1f}" for stage, values in tally.stages_ms.items())
        rows.append(("server", f"{medians} ms (medians)"))
    if tally.instances:
        rows.append(("instances", ", ".join(f"{name} {count}" for name, count in sorted(tally.instances.items()))))
    return "\n".join(f"{name:<11} {text}" for name, text in rows)
