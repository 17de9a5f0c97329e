"""What Prometheus reads at `/metrics`: requests, stages, batches, the queue, the engine and the process."""

from collections.abc import Iterable
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from framefleet.wire.timing import STAGES
from service.pipeline.batcher import Batcher
from service.pipeline.stages import Stages

# From a fraction of a GPU's millisecond to a deadline; an SLO of 100 ms lies on an edge.
STAGE_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One instance's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        requests = Counter("framefleet_requests", "Requests answered", ["route", "status"], registry=self._registry)
        stages = Histogram(
            "framefleet_stage_seconds",
            "Time of a picture in each stage: decode, queue, infer, post",
            ["stage"],
            buckets=STAGE_BUCKETS_S,
            registry=self._registry,
        )
        answers = Histogram(
            "framefleet_request_seconds",
            "Time of a good answer to a POST, from its headers on",
            ["route"],
            buckets=STAGE_BUCKETS_S,
            registry=self._registry,
        )
        self.batches = Histogram(
            "framefleet_batch_size", "Frames inferred together", buckets=BATCH_BUCKETS, registry=self._registry
        )
        self.in_flight = Gauge("framefleet_in_flight_requests", "Requests being answered", registry=self._registry)
        # To look them up by their labels takes longer than to count.
        self._stages = [stages.labels(name) for name in STAGES]
        self._requests, self._answers = cache(requests.labels), cache(answers.labels)

    def watch(self, collector: Collector) -> None:
        """Adds figures that are read when they are asked for."""
        self._registry.register(collector)

    def record(self, stages: Stages) -> None:
        """Counts one picture's stages."""
        for stage, ms in zip(self._stages, stages.ms, strict=True):
            stage.observe(ms / 1000)

    def count(self, route: str, status: int) -> None:
        """Counts one answer of an HTTP status."""
        self._requests(route, status).inc()

    def time(self, route: str, seconds: float) -> None:
        """Counts how long a good answer took."""
        self._answers(route).observe(seconds)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)


class BatcherCollector(Collector):
    """Reads the batcher's counts, and says what engine and model it runs."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    def collect(self) -> Iterable[Metric]:
        """The figures as they are now."""
        batcher, queue, info = self._batcher, self._batcher.queue, self._batcher.info
        yield GaugeMetricFamily("framefleet_admitted", "Places taken in the instance", queue.admitted)
        yield GaugeMetricFamily("framefleet_admission_limit", "Places in the instance", queue.size)
        yield GaugeMetricFamily("framefleet_queue_depth", "Frames waiting for the engine", queue.depth)
        yield CounterMetricFamily("framefleet_shed", "Requests refused because the instance was full", queue.shed)
        yield CounterMetricFamily("framefleet_frames", "Frames inferred", batcher.counts.frames)
        yield CounterMetricFamily(
            "framefleet_expired", "Frames dropped: past their deadline, or the client gone", batcher.counts.expired
        )
        yield CounterMetricFamily("framefleet_self_tests", "Idle self-tests passed", batcher.counts.self_tests)
        yield InfoMetricFamily(
            "framefleet_engine",
            "What runs the model, where",
            {
                "kind": info.kind,
                "device": info.device,
                "model": info.model,
                "precision": info.precision,
                "max_batch": str(info.max_batch),
                "note": info.note,
            },
        )
        height, width = info.input_size
        yield InfoMetricFamily(
            "framefleet_model",
            "What is served",
            {"name": info.model, "input": f"{height}x{width}", "classes": str(len(info.classes))},
        )
