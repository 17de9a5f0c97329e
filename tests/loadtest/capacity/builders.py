"""Rows, samples and capacities made by hand, with figures a test can foresee."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from loadtest.capacity.assemble import SweepFindings, assemble
from loadtest.capacity.fits import BatchFit, fit_batches
from loadtest.capacity.records import Capacity, Provenance, Timeline
from loadtest.capacity.row import Little, Row, Share, Times
from loadtest.capacity.sweep import Ask, Sweep, SweepOptions
from loadtest.measure.machine import Machine
from loadtest.measure.samples import DTYPE, SampleTable
from loadtest.measure.step import Counts
from loadtest.target.verdict import Verdict

SLO_MS = 100.0
MACHINE = Machine("Test CPU", 2, 4.0, "Linux 6")
STATUS = {
    "release": "r1",
    "model": {"name": "centerface-320"},
    "engine": {"kind": "onnxruntime", "device": "cpu", "max_batch": 8, "note": ""},
    "queue": {"admitted": 0, "limit": 32},
}


def row(
    fps: float,
    in_time: float = 1.0,
    *,
    p95_ms: float = 40.0,
    kind: str = "sweep",
    seed: int = 1,
    seconds: int = 10,
    shares: Sequence[str] = ("gpu0", "gpu1"),
    doubts: tuple[str, ...] = (),
    sent_in_time: float | None = None,
) -> Row:
    """A step at a rate, of whose frames a part was in time, the same in each second."""
    due = max(1, round(fps))
    good = round(due * in_time)
    offered, ok = due * seconds, good * seconds
    times = Times(p95_ms * 0.6, p95_ms / 2, p95_ms, p95_ms * 1.5, p95_ms * 0.6 - 1, p95_ms - 1)
    return Row(
        kind=kind,
        asked_fps=fps,
        sent_fps=fps,
        ok_fps=ok / seconds,
        seconds=float(seconds),
        seed=seed,
        in_time=good / due,
        in_time_sent=good / due if sent_in_time is None else sent_in_time,
        counts=Counts(offered, ok, 0, 0, offered - ok, 0, 0, 0, 0),
        times=times if good else None,
        stages={"decode": 1.0, "queue": 2.0, "infer": p95_ms * 0.4, "post": 0.3} if good else {},
        outside_ms=1.5 if good else None,
        shares=tuple(Share(name, ok // len(shares), 1 / len(shares), p95_ms, 10.0) for name in shares) if good else (),
        little=Little(1.0, 1.0),
        batch=1.5,
        lateness_p99_ms=1.0,
        generator_cpu=0.2,
        doubts=doubts,
        seconds_offered=(due,) * seconds,
        seconds_in_time=(good,) * seconds,
    )


def limited(limit_fps: float, **more: object) -> Callable[[Ask], Row]:
    """A service that answers all up to a limit, and beyond it what it can, ever slower."""

    def measure(ask: Ask) -> Row:
        load = ask.fps * max((phase.factor for phase in ask.phases), default=1.0) / limit_fps
        in_time = 1.0 if load <= 1 else max(0.0, 1 - 3 * (load - 1))
        found = row(ask.fps, in_time, p95_ms=20 + 60 * load**4, kind=ask.kind, seed=ask.seed)
        return replace(found, **more) if more else found  # type: ignore[arg-type]

    return measure


def provenance(**status: object) -> Provenance:
    """Where made-up figures come from; keyword arguments replace parts of the service's status."""
    return Provenance(
        url="http://127.0.0.1:8080",
        route="/v1/detect",
        started="2026-11-23T10:00:00+00:00",
        revision="0123456789ab",
        video="clip.mp4",
        frame="640x480, jpeg, quality 90",
        request_bytes=50_000.0,
        response_bytes=500.0,
        seed=1,
        machine=MACHINE,
        versions={"python": "3.11", "locust": "2"},
        status=STATUS | status,
    )


def capacity(
    limit_fps: float = 60.0,
    *,
    instances: int = 2,
    others: Sequence[Capacity] = (),
    batch: BatchFit | None = None,
    cpu_ms: float | None = 5.0,
    timelines: tuple[Timeline, ...] = (),
    source: Provenance | None = None,
) -> Capacity:
    """A whole capacity, out of a sweep of a service that holds so many frames/s."""
    shares = tuple(Share(f"gpu{n}", 100, 1 / instances, 40.0, 10.0) for n in range(instances))
    sweep = Sweep(limited(limit_fps, shares=shares), SweepOptions())
    sweep.run()
    found = SweepFindings(
        slo_ms=SLO_MS,
        rows=tuple(sweep.rows),
        verified_fps=sweep.verified_fps,
        repetitions=5,
        batch=batch,
        cpu_ms=cpu_ms,
        timelines=timelines,
        provenance=source or provenance(),
    )
    return assemble(found, others)


def batch_fit(a_ms: float = 10.0, b_ms: float = 1.0) -> BatchFit:
    """The fit of noiseless batches of 1 to 4 frames."""
    sizes = np.repeat([1, 2, 3, 4], 25)
    found = fit_batches(sizes, a_ms + b_ms * sizes)
    assert found is not None
    return found


def table(rows: Iterable[tuple[float, float, float, str, float]]) -> SampleTable:
    """Samples of right answers: scheduled, sent and done in s, instance, time in the engine in ms."""
    given = list(rows)
    made = np.zeros(len(given), dtype=DTYPE)
    for name, column in zip(
        ("scheduled_s", "sent_s", "done_s", "instance", "infer_ms"), zip(*given, strict=True), strict=True
    ):
        made[name] = column
    made["verdict"] = Verdict.SAME.value
    made["status"] = 200
    return made
