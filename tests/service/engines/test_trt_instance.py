"""Instances that serve an `.engine` file: whole, on a made-up GPU, and without one."""

import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests

from service.app import create_app
from service.errors import EngineFault
from service.pipeline.detector import Detector
from service.settings import Settings
from tests.instance import RunningInstance, running_instance, start_instance, stop_instance
from tests.service.engines.networks import CELL, SIZE, Frames, expected, pictures
from tests.service.engines.trt_machine import Machine

LIMIT_S = 60
WORKER = "tests.service.engines.trt_worker.TrtWorker"


def body(frame: Frames) -> bytes:
    height, width = SIZE
    return json.dumps({"height": height, "width": width, "image": base64.b64encode(frame.tobytes()).decode()}).encode()


def wanted(frame: Frames) -> list[dict[str, list[float]]]:
    """The first server's answer to a frame that needs no letterboxing; its cells do not overlap enough for NMS."""
    rows = [row for row in expected(frame[None])[0] if row[4] > 0.35]
    return [{str(int(row[5])): [*(round(value) for value in row[:4]), round(row[4], 2)]} for row in rows]


def sparse(seed: int) -> Frames:
    """A frame that shows something in every third cell only, so that no box covers another one."""
    shown = np.zeros((SIZE[0] // CELL, SIZE[1] // CELL, 1), np.uint8)
    shown[::3, ::3] = 1
    return pictures(1, seed)[0] * shown.repeat(CELL, axis=0).repeat(CELL, axis=1)


@pytest.fixture
def detector(machine: Machine) -> Iterator[Detector]:
    model = machine.write(batches=[(1, 4)])
    faults: list[EngineFault] = []
    made = Detector(Settings(), open_engine=lambda: machine.engine(model, max_batch=4), on_fault=faults.append)
    made.start()
    yield made
    made.batcher.stop()
    assert faults == []


def test_a_started_detector_answers_with_the_networks_detections(detector: Detector) -> None:
    client = create_app(Settings(), detector).test_client()
    assert sum(len(wanted(sparse(seed))) for seed in range(4)) > 4
    for seed in range(4):
        assert client.post("/predict", data=body(sparse(seed))).get_json() == wanted(sparse(seed))


def test_many_requests_at_once_share_batches_and_each_gets_its_own_answer(detector: Detector) -> None:
    app = create_app(Settings(), detector)

    def ask(seed: int) -> object:
        return app.test_client().post("/predict", data=body(sparse(seed))).get_json()

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(60)))
    assert answers == [wanted(sparse(seed)) for seed in range(60)]
    assert detector.batcher.counts.frames == 60


def test_a_real_instance_answers_says_what_it_runs_and_is_gone_after_a_fault(
    free_port: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Machine(tmp_path).write()
    starting = 2 * 8 + 2 + 1  # a batch of each size in each slot before it is recorded, warm-up, self-test
    monkeypatch.setenv("MADE_UP_GPU_BREAKS_AT", str(starting + 2))
    with running_instance(free_port(), model, tmp_path / "log", WORKER, self_test_s=0) as instance:
        engine = requests.get(f"{instance.url}/status", timeout=LIMIT_S).json()["engine"]
        assert (engine["kind"], engine["device"]) == ("tensorrt", "Made-up GPU (8.6)")
        answer = requests.post(f"{instance.url}/predict", body(sparse(1)), timeout=LIMIT_S)
        assert answer.json() == wanted(sparse(1))
        with pytest.raises(requests.ConnectionError):
            requests.post(f"{instance.url}/predict", body(sparse(2)), timeout=LIMIT_S)
        assert instance.process.wait(LIMIT_S) == 70
        assert "an illegal memory access was encountered" in instance.log.read_text()


def start_failure(instance: RunningInstance) -> str:
    """The one line a failed start ends with."""
    try:
        assert instance.process.wait(LIMIT_S) not in (0, None)
    finally:
        stop_instance(instance)
    log = instance.log.read_text()
    assert "Traceback" not in log
    (line,) = [line for line in log.splitlines() if line.startswith("cannot start: ")]
    return line


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda model: model.write_bytes(model.read_bytes()[:-9]), "truncated, damaged or was replaced"),
        (lambda model: model.with_suffix(".json").unlink(), "missing; `make model MODEL="),
        (
            lambda model: model.with_suffix(".json").write_text(
                model.with_suffix(".json").read_text().replace("Made-up GPU", "NVIDIA A10")
            ),
            "was built for NVIDIA A10 (8.6)",
        ),
    ],
    ids=["truncated", "no manifest", "foreign GPU"],
)
def test_an_engine_file_that_cannot_be_served_is_one_line(
    spoil: Callable[[Path], object], words: str, free_port: Callable[[], int], tmp_path: Path
) -> None:
    model = Machine(tmp_path).write()
    spoil(model)
    assert words in start_failure(start_instance(free_port(), model, tmp_path / "log", WORKER))


def test_a_device_that_breaks_during_warm_up_is_one_line(
    free_port: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MADE_UP_GPU_BREAKS_AT", "17")
    model = Machine(tmp_path).write()
    line = start_failure(start_instance(free_port(), model, tmp_path / "log", WORKER))
    assert "the engine opened but could not answer" in line and "illegal memory access" in line


def test_a_machine_that_has_no_such_gpu_says_what_is_missing(free_port: Callable[[], int], tmp_path: Path) -> None:
    """On the real machine, whatever it lacks: a driver, TensorRT, pycuda, or the GPU this was built for."""
    model = Machine(tmp_path).write()
    line = start_failure(start_instance(free_port(), model, tmp_path / "log"))
    assert line.startswith(("cannot start: GPU: ", "cannot start: FRAMEFLEET_MODEL: "))
