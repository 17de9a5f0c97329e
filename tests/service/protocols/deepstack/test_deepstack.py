"""DeepStack's and CodeProject.AI's protocol, as their clients speak it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import pytest
import requests
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from service.errors import InferenceFailed
from tests.instance import running_instance
from tests.service.fakes import ScriptedEngine
from tests.service.scripted import SETTINGS, png, scripted_client

DETECTION = "/v1/vision/detection"
PREDICTION = {"label": "other", "confidence": pytest.approx(0.9), "x_min": 0, "y_min": 0, "x_max": 30, "y_max": 20}


def post(client: FlaskClient, path: str = DETECTION, picture: bytes = png(), **fields: Any) -> TestResponse:
    return client.post(path, data={"image": (BytesIO(picture), "image"), **fields})


def assert_failure(answer: TestResponse, status: int, *words: str) -> None:
    document = json.loads(answer.data)
    assert (answer.status_code, answer.content_type) == (status, "application/json")
    assert (document["success"], document["code"], document["predictions"]) == (False, status, [])
    assert all(word in document["error"] for word in words), document


def test_a_picture_is_answered_in_whole_pixels_and_milliseconds(client: FlaskClient) -> None:
    answer = post(client, api_key="")
    document = answer.get_json()
    assert (answer.status_code, document["success"], document["code"]) == (200, True, 200)
    assert (document["predictions"], document["count"], document["message"]) == ([PREDICTION], 1, "Found other")
    for name in ("inferenceMs", "processMs", "analysisRoundTripMs"):
        assert type(document[name]) is int
    assert document["inferenceMs"] <= document["processMs"] + 1
    assert (document["command"], document["moduleId"], document["canUseGPU"]) == ("detect", "framefleet", False)
    assert document["requestId"] == answer.headers["X-Request-ID"]
    assert "infer;dur=" in answer.headers["Server-Timing"]


@pytest.mark.parametrize(
    ("kind", "device", "on_gpu"),
    [
        ("onnxruntime", "cpu", False),
        ("onnxruntime", "cuda", True),
        ("onnxruntime", "tensorrt", True),
        ("torchscript", "cuda: NVIDIA A10", True),
        ("tensorrt", "NVIDIA A10 (8.6)", True),
        ("simulated", "simulated", False),
    ],
)
def test_clients_are_told_whether_a_gpu_does_the_work(kind: str, device: str, on_gpu: bool) -> None:
    engine = ScriptedEngine()
    engine.info = replace(engine.info, kind=kind, device=device)
    with scripted_client(engine) as client:
        document = post(client).get_json()
    assert (document["executionProvider"], document["canUseGPU"]) == (device, on_gpu)


@pytest.mark.parametrize(
    ("confidence", "count"), [("0.89", 1), ("0.95", 0), ("", 1), (" 0.95 ", 0), ("0", 1), ("1", 0), ("1e-1", 1)]
)
def test_min_confidence_is_the_threshold(client: FlaskClient, confidence: str, count: int) -> None:
    document = post(client, min_confidence=confidence).get_json()
    assert (document["success"], document["count"], len(document["predictions"])) == (True, count, count)


def test_the_default_threshold_is_this_protocols_and_not_the_instances() -> None:
    engine = ScriptedEngine()
    engine.garbled = True  # score 0.1
    with scripted_client(engine) as client:
        assert post(client).get_json()["message"] == "No objects found"
        assert post(client, min_confidence="0.05").get_json()["count"] == 1


@pytest.mark.parametrize("confidence", ["x", "-0.1", "1.1", "40", "nan", "inf", "0.4,0.5"])
def test_a_threshold_that_is_none_is_a_422(client: FlaskClient, confidence: str) -> None:
    assert_failure(post(client, min_confidence=confidence), 422, "min_confidence", "0 to 1")


@pytest.mark.parametrize("model", ["scripted", "general"])
def test_custom_models_are_the_one_that_is_served(client: FlaskClient, model: str) -> None:
    document = post(client, f"/v1/vision/custom/{model}").get_json()
    assert (document["predictions"], document["command"]) == ([PREDICTION], "custom")
    assert_failure(post(client, "/v1/vision/custom/ipcam-dark"), 404, "ipcam-dark", "scripted")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_blue_iris_finds_the_model_in_the_list(client: FlaskClient, method: str) -> None:
    document = client.open("/v1/vision/custom/list", method=method).get_json()
    assert (document["success"], document["models"]) == (True, ["scripted"])


def test_a_bare_picture_is_taken_too(client: FlaskClient) -> None:
    assert client.post(DETECTION, data=png()).get_json()["predictions"] == [PREDICTION]


def test_the_file_named_image_is_the_one(client: FlaskClient) -> None:
    files = {"mask": (BytesIO(b"no picture"), "mask.bin"), "image": (BytesIO(png()), "a.png")}
    assert client.post(DETECTION, data=files).get_json()["predictions"] == [PREDICTION]
    other_name = {"file": (BytesIO(png()), "a.png")}
    assert client.post(DETECTION, data=other_name).get_json()["predictions"] == [PREDICTION]


@pytest.mark.parametrize(
    ("picture", "status"),
    [
        (b"", 400),
        (b"plain words", 415),
        (png()[:60], 400),
        (b"\x89PNG" + bytes(200_000), 413),
        (b'{"height":1,"width":1,"image":"\\/\xff"}', 400),
    ],
    ids=["empty", "text", "cut", "oversize", "no UTF-8"],
)
def test_bad_pictures_fail_in_this_protocols_words(client: FlaskClient, picture: bytes, status: int) -> None:
    assert_failure(post(client, picture=picture), status)
    assert post(client).status_code == 200


def test_a_form_without_a_file_or_with_too_many(client: FlaskClient) -> None:
    only_text = client.post(DETECTION, data={"min_confidence": "0.4"}, content_type="multipart/form-data")
    assert_failure(only_text, 400, "no file")
    many = {f"image{number}": (BytesIO(png()), "a.png") for number in range(SETTINGS.max_files + 1)}
    assert_failure(client.post(DETECTION, data=many), 422, "files")


def test_wrong_paths_and_methods_fail_in_this_protocols_words(client: FlaskClient) -> None:
    assert_failure(client.get(DETECTION), 405)
    assert_failure(client.post("/v1/vision/face"), 404)
    assert client.post("/v1/visions").content_type == "application/problem+json"


def test_overload_deadline_and_faults(client: FlaskClient, engine: ScriptedEngine) -> None:
    with client.application.extensions["detector"].batcher.queue.admit(4, "127.0.0.1"):
        answer = post(client)
    assert_failure(answer, 503)
    assert answer.headers["Retry-After"] == "1"
    engine.errors = [InferenceFailed("secret tensor shapes")]
    answer = post(client)
    assert_failure(answer, 500, "request id")
    assert "secret" not in answer.text
    engine.gate.clear()
    image = {"image": (BytesIO(png()), "image")}
    assert_failure(client.post(DETECTION, data=image, headers={"X-Timeout-Ms": "20"}), 504)
    engine.gate.set()


@pytest.fixture(scope="module")
def shared_client() -> Iterator[FlaskClient]:
    with scripted_client(ScriptedEngine()) as client:
        yield client


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), raw=st.binary(max_size=200))
def test_whatever_is_sent_the_answer_is_nobodys_5xx(
    shared_client: FlaskClient, data: st.DataObject, raw: bytes
) -> None:
    form = bytearray(
        b'--b\r\nContent-Disposition: form-data; name="min_confidence"\r\n\r\n0.4\r\n'
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + png() + b"\r\n--b--\r\n"
    )
    for _ in range(data.draw(st.integers(0, 4))):
        form[data.draw(st.integers(0, len(form) - 1))] = data.draw(st.integers(0, 255))
    for body in (raw, bytes(form)):
        answer = shared_client.post(DETECTION, data=body)
        assert answer.status_code < 500, body
        assert answer.get_json()["success"] is (answer.status_code == 200)


def frigate(url: str, jpeg: bytes) -> list[list[float]]:
    """What Frigate's deepstack detector reads of an answer."""
    answer = requests.post(url, data={"api_key": ""}, files={"image": jpeg}, timeout=30).json()
    return [
        [float(found["confidence"]), found["y_min"], found["x_min"], found["y_max"], found["x_max"]]
        for found in answer["predictions"]
        if found["label"] == "face"
    ]


def test_frigate_finds_the_face_in_the_sample_video(
    default_model: Path, sample_video: Path, free_port: Callable[[], int], tmp_path: Path
) -> None:
    _, frame = cv2.VideoCapture(str(sample_video)).read()
    jpeg = bytes(cv2.imencode(".jpg", frame)[1])
    with running_instance(free_port(), default_model, tmp_path / "log") as instance:
        (found,) = frigate(f"{instance.url}{DETECTION}", jpeg)
        native = requests.post(f"{instance.url}/v1/detect", jpeg, timeout=30).json()
    ((x1, y1, x2, y2), score) = native["detections"][0]["box"], native["detections"][0]["score"]
    assert found == [pytest.approx(score, abs=1e-4), round(y1), round(x1), round(y2), round(x2)]
