"""What Prometheus reads, from an application that has done known work."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from service.pipeline.gpu import GpuCollector, GpuFigures
from service.settings import Settings
from tests.service.fakes import SIZE

PICTURE = bytes(cv2.imencode(".png", np.zeros((SIZE, SIZE, 3), np.uint8))[1])
SETTINGS = Settings(queue_size=2)


@pytest.fixture
def settings() -> Settings:
    return SETTINGS


def figures(client: FlaskClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = client.get("/metrics").text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_are_counted_by_route_and_status(client: FlaskClient) -> None:
    client.post("/predict", data=PICTURE)
    client.post("/predict", data=b"?")
    client.get("/no/such/path")
    found = figures(client)
    assert found["framefleet_requests_total", (("route", "/predict"), ("status", "200"))] == 1
    assert found["framefleet_requests_total", (("route", "/predict"), ("status", "415"))] == 1
    assert found["framefleet_requests_total", (("route", "none"), ("status", "404"))] == 1


def test_stages_batches_and_frames_are_counted(client: FlaskClient) -> None:
    for _ in range(3):
        client.post("/v1/detect", data=PICTURE)
    found = figures(client)
    for stage in ("decode", "queue", "infer", "post"):
        assert found["framefleet_stage_seconds_count", (("stage", stage),)] == 3
        assert found["framefleet_stage_seconds_sum", (("stage", stage),)] > 0
    assert found["framefleet_batch_size_count", ()] == found["framefleet_frames_total", ()] == 3


def test_sheds_and_places_are_shown(client: FlaskClient) -> None:
    with client.application.extensions["detector"].batcher.queue.admit(2, "127.0.0.1"):
        client.post("/predict", data=PICTURE)
        found = figures(client)
    assert found["framefleet_shed_total", ()] == 1
    assert (found["framefleet_admitted", ()], found["framefleet_admission_limit", ()]) == (2, 2)
    assert figures(client)["framefleet_admitted", ()] == 0


def test_in_flight_counts_the_request_that_asks_and_falls_back(client: FlaskClient) -> None:
    client.post("/predict", data=b"?")
    assert figures(client)["framefleet_in_flight_requests", ()] == 1


def test_engine_model_and_process_are_named(client: FlaskClient) -> None:
    found = figures(client)
    labels = {"kind": "scripted", "device": "none", "model": "scripted", "precision": "", "max_batch": "4", "note": ""}
    engine = tuple(sorted(labels.items()))
    assert found["framefleet_engine_info", engine] == 1
    assert found["framefleet_model_info", (("classes", "2"), ("input", f"{SIZE}x{SIZE}"), ("name", "scripted"))] == 1
    assert found["process_start_time_seconds", ()] > 1.6e9


class FakeNvml(SimpleNamespace):
    """The NVML calls we make, for GPUs that have no power meter; there is none here to ask."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        """As in pynvml."""

    def __init__(self, count: int = 1) -> None:
        super().__init__(count=count)

    def nvmlDeviceGetCount(self) -> int:
        return int(self.count)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, gpu: int) -> str:
        return f"GPU-{gpu + 1}"

    def __getattr__(self, name: str) -> object:
        answers = {
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=40),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=100, used=30),
            "nvmlDeviceGetTemperature": 61,
            "nvmlDeviceGetTotalEnergyConsumption": 5000,
            "nvmlDeviceGetCurrentClocksEventReasons": 4,
        }

        def call(*arguments: object) -> object:
            if name not in answers:
                raise self.NVMLError("not supported")
            return answers[name]

        return call


def test_gpu_figures_have_tritons_names_and_units_and_leave_out_what_is_missing() -> None:
    families = list(GpuCollector(FakeNvml()).collect())
    found = {sample.name: (sample.value, sample.labels) for family in families for sample in family.samples}
    gpu = {"gpu_uuid": "GPU-1"}
    assert found == {
        "nv_gpu_utilization": (0.4, gpu),
        "nv_gpu_memory_total_bytes": (100, gpu),
        "nv_gpu_memory_used_bytes": (30, gpu),
        "nv_energy_consumption": (5.0, gpu),
        "nv_gpu_temperature_celsius": (61, gpu),
        "nv_gpu_throttle_reasons": (4, gpu),
    }


def test_people_see_the_gpus_an_instance_may_use_and_none_for_what_they_do_not_tell() -> None:
    class Mute(FakeNvml):
        def nvmlDeviceGetTemperature(self, gpu: int, sensor: int) -> int:
            raise self.NVMLError("not supported")

    assert GpuCollector(Mute(2), ["GPU-2"]).snapshot() == [GpuFigures("GPU-2", 0.4, 30, 100, None)]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, ["GPU-1", "GPU-2"]), (["GPU-2"], ["GPU-2"]), (["0"], ["GPU-1"]), ([""], []), (["MIG-5"], [])],
)
def test_only_gpus_that_the_process_may_use_are_shown(visible: list[str] | None, expected: list[str]) -> None:
    assert [gpu.uuid for gpu in GpuCollector(FakeNvml(2), visible).snapshot()] == expected


def test_a_gpu_that_is_lost_does_not_hide_its_neighbours() -> None:
    class Lost(FakeNvml):
        def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
            if index == 0:
                raise self.NVMLError("GPU is lost")
            return index

    collector = GpuCollector(Lost(2))
    shown = {sample.labels["gpu_uuid"] for family in collector.collect() for sample in family.samples}
    assert shown == {gpu.uuid for gpu in collector.snapshot()} == {"GPU-2"}
