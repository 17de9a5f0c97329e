"""Measures an engine on this machine's GPU, alone and through the whole service: `python -m bench.gpu`.

Without `--model` it makes a YOLOv5s-shaped TorchScript network with random weights, which takes as long as a trained
one. Figures go to `./var/gpu/bench.json` and, as a table, to `./var/gpu/bench.md`. Nothing else should run meanwhile.

`ClientLoad`, `latencies_ms`: clients in processes of their own, each with several connections that always have one
request under way.

`bare`, `through_service`, `decoding`: what is measured: an engine, the same behind the whole service, JPEG decoding.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("bench.gpu")


import argparse
import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import simplejpeg

from bench.instance import instance
from framefleet.wire.percentiles import percentiles
from service.engines import load_engine, warm_up
from service.errors import StartError
from service.settings import Settings
from tests.gpu.machine import Machine, this_machine

CONNECTIONS_PER_PROCESS = 8
WARM_UP_PART = 0.2
HEAD = "| what | how | batch | frames/s | p50 ms | p95 ms |\n|---|---|---|---|---|---|"


@dataclass(frozen=True, slots=True)
class ClientLoad:
    """What the clients do: post `body` to `url` on `connections` connections for `seconds` s."""

    url: str
    body: bytes
    connections: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement.

    Attributes:
        what: what was measured.
        how: precision, decoder or the like.
        batch: frames at once at most.
        frames_s: frames per second.
        p50_ms: median of one batch (engine, decoding) or of one request (service).
        p95_ms: 95th percentile of the same.
    """

    what: str
    how: str
    batch: int
    frames_s: float
    p50_ms: float
    p95_ms: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints and writes; 1 with one line where there is no such device."""
    options = _options(arguments)
    machine = this_machine()
    if options.device == "cuda" and not machine.gpu:
        print(f"bench-gpu: {machine.lines()[0]}: nothing to measure", file=sys.stderr)
        return 1
    figures: list[Figure] = []
    remarks: list[str] = machine.lines()
    print(*remarks, "", HEAD, sep="\n")
    try:
        for found in measure(options):
            figures, remarks = _kept(found, figures, remarks)
    except (StartError, RuntimeError) as error:
        remarks.append(f"stopped: {error}")
        print(remarks[-1], file=sys.stderr)
    _write(options.out, machine, remarks, figures)
    return 0 if figures and not remarks[-1].startswith("stopped") else 1


def measure(options: argparse.Namespace) -> Iterator[Figure | str]:
    """Every figure in turn; a line of text for a part that is missing."""
    model = options.model or _network(options)
    body = _picture()
    most = max(options.batches)
    for precision in options.precisions:
        settings = {"model": str(model), "device": options.device, "precision": precision}
        yield from bare(Settings(**settings, max_batch=most), options.batches, options.seconds)  # type: ignore[arg-type]
        for batch in options.batches:
            yield through_service(settings, body, batch, options.seconds)
    yield from decoding(body, options.batches, options.seconds, options.device)


def row(figure: Figure) -> str:
    """A figure as a line of the table."""
    return f"| {figure.what} | {figure.how} | {figure.batch} | {figure.frames_s} | {figure.p50_ms} | {figure.p95_ms} |"


def _kept(found: Figure | str, figures: list[Figure], remarks: list[str]) -> tuple[list[Figure], list[str]]:
    print(found if isinstance(found, str) else row(found), flush=True)
    return ([*figures, found], remarks) if isinstance(found, Figure) else (figures, [*remarks, found])


def _write(folder: Path, machine: Machine, remarks: list[str], figures: list[Figure]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine.record(), "remarks": remarks, "figures": [asdict(figure) for figure in figures]}
    (folder / "bench.json").write_text(json.dumps(document, indent=2) + "\n")
    table = "\n".join([HEAD, *map(row, figures)])
    (folder / "bench.md").write_text("\n\n".join([*remarks, table]) + "\n")
    print(f"written to {folder}/bench.json and {folder}/bench.md")


def _network(options: argparse.Namespace) -> Path:
    from tests.service.engines.torch_models import save
    from tests.service.engines.yolo_torch import Yolo, randomise

    options.out.mkdir(parents=True, exist_ok=True)
    size = (options.size, options.size)
    network = randomise(Yolo(options.width, classes=4, size=size))
    return save(options.out / f"yolov5-{options.width}-{options.size}.torchscript", network, size)


def _picture() -> bytes:
    """A 640x480 JPEG of soft noise, about as large as a camera's."""
    coarse = np.random.default_rng(4).integers(0, 256, (60, 80, 3), np.uint8)
    picture = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--model", type=Path, help="model file to measure instead of a random network")
    parser.add_argument("--device", default="cuda", help="FRAMEFLEET_DEVICE of the runs (default: %(default)s)")
    parser.add_argument("--precisions", nargs="+", default=["fp16", "fp32"], help="(default: fp16 fp32)")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32], help="(default: 1 to 32)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--width", type=float, default=0.5, help="YOLOv5's width multiple (default: %(default)s, s)")
    parser.add_argument("--size", type=int, default=640, help="side of the network's input, px (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("var/gpu"), help="folder (default: %(default)s)")
    return parser.parse_args(arguments)


def bare(settings: Settings, batches: Sequence[int], seconds: float) -> Iterator[Figure]:
    """The engine alone, without a service around it."""
    with load_engine(settings) as engine:
        warm_up(engine)
        height, width = engine.info.input_size
        random = np.random.default_rng(1)
        for batch in (size for size in batches if size <= engine.info.max_batch):
            frames = random.integers(0, 256, (batch, height, width, 3), np.uint8)
            yield timed("engine", settings.precision, batch, seconds, partial(engine.infer, frames))


def through_service(settings: dict[str, object], body: bytes, batch: int, seconds: float) -> Figure:
    """The same engine behind gunicorn and the batcher, with twice a batch of requests always under way."""
    connections = 2 * batch
    limits = {"max_batch": batch, "queue_size": connections, "deadline_ms": 60_000, "log_every": 0, "self_test_s": 0}
    with instance(**settings, **limits) as url:
        latencies_ms(ClientLoad(f"{url}/v1/detect", body, connections, seconds * WARM_UP_PART))
        taken = latencies_ms(ClientLoad(f"{url}/v1/detect", body, connections, seconds))
    return _figure("service", str(settings["precision"]), batch, taken, len(taken) / seconds)


def decoding(body: bytes, batches: Sequence[int], seconds: float, device: str) -> Iterator[Figure | str]:
    """JPEG decoding on the CPU, and where torchvision can, in batches on the GPU; a line for what is missing."""
    yield timed("decode", "CPU, 1 thread", 1, seconds, partial(simplejpeg.decode_jpeg, body, "BGR"))
    cores = cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        bodies = [body] * 4 * cores
        run = partial(_decode_all, pool, bodies)
        yield timed("decode", f"CPU, {cores} threads", len(bodies), seconds, run)
    try:
        from torch import frombuffer, uint8
        from torch.cuda import synchronize
        from torchvision.io import decode_jpeg

        encoded = frombuffer(bytearray(body), dtype=uint8)
        for batch in batches:

            def on_device(count: int = batch) -> None:
                decode_jpeg([encoded] * count, device=device)
                synchronize()

            on_device()
            yield timed("decode", f"torchvision on {device}", batch, seconds, on_device)
    except Exception as error:  # torchvision without its GPU parts fails in many ways
        yield f"no JPEG decoding on {device}: {type(error).__name__}: {str(error).splitlines()[0]}"


def _decode_all(pool: ThreadPoolExecutor, bodies: Sequence[bytes]) -> None:
    list(pool.map(partial(simplejpeg.decode_jpeg, colorspace="BGR"), bodies))


def timed(what: str, how: str, batch: int, seconds: float, run: Callable[[], object]) -> Figure:
    """Repeats something for `seconds` s, at least once."""
    taken, end = list[float](), time.monotonic() + seconds
    while not taken or time.monotonic() < end:
        began = time.perf_counter()
        run()
        taken.append((time.perf_counter() - began) * 1000)
    return _figure(what, how, batch, taken, batch * len(taken) / (sum(taken) / 1000))


def _figure(what: str, how: str, batch: int, taken: list[float], frames_s: float) -> Figure:
    p50, p95 = percentiles(taken, 50, 95)
    return Figure(what, how, batch, round(frames_s, 1), round(p50, 2), round(p95, 2))


def latencies_ms(load: ClientLoad) -> list[float]:
    """Runs the clients.

    Returns:
        Milliseconds of every answer.

    Raises:
        RuntimeError: an answer was no 200.
    """
    whole, rest = divmod(load.connections, CONNECTIONS_PER_PROCESS)
    shares = [CONNECTIONS_PER_PROCESS] * whole + [rest] * bool(rest)
    with ProcessPoolExecutor(len(shares), mp_context=get_context("spawn")) as pool:
        parts = pool.map(_process, [ClientLoad(load.url, load.body, share, load.seconds) for share in shares])
        return [ms for part in parts for ms in part]


def _process(load: ClientLoad) -> list[float]:
    with ThreadPoolExecutor(load.connections) as pool:
        parts = pool.map(_connection, [load] * load.connections)
        return [ms for part in parts for ms in part]


def _connection(load: ClientLoad) -> list[float]:
    address = urlsplit(load.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
    taken, end = list[float](), time.monotonic() + load.seconds
    while not taken or time.monotonic() < end:
        began = time.monotonic()
        connection.request("POST", address.path, load.body)
        answer = connection.getresponse()
        answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(f"{load.url}: answered {answer.status}")
        taken.append((time.monotonic() - began) * 1000)
    connection.close()
    return taken
