"""What `bench.gpu` measures: an engine alone, the same behind the whole service, and JPEG decoding."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from os import cpu_count

import numpy as np
import simplejpeg

from bench.clients import Load, latencies_ms
from bench.instance import instance
from service.engines import load_engine, warm_up
from service.settings import Settings

WARM_UP_PART = 0.2


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
        latencies_ms(Load(f"{url}/v1/detect", body, connections, seconds * WARM_UP_PART))
        taken = latencies_ms(Load(f"{url}/v1/detect", body, connections, seconds))
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
    p50, p95 = np.percentile(taken, [50, 95])
    return Figure(what, how, batch, round(frames_s, 1), round(float(p50), 2), round(float(p95), 2))
