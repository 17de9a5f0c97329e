"""The foreign protocols in the document: real answers are as it says, failures in each protocol's own words too."""

import base64
import inspect
import json
import re
from collections.abc import Iterator

import cv2
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.errors import InferenceFailed, ServiceError
from service.settings import Settings
from tests.service.documented import Document
from tests.service.fakes import SIZE, ScriptedEngine
from tests.service.protocols.test_openapi import document, every_error, form, parameter, raw_frame
from tests.service.scripted import PICTURE, SETTINGS, element, png, scripted_client


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def client(engine: ScriptedEngine) -> Iterator[FlaskClient]:
    with scripted_client(engine) as client:
        yield client


@pytest.fixture
def served(client: FlaskClient) -> Document:
    return Document(client.get("/openapi.json").get_json())


def jpeg() -> bytes:
    return bytes(cv2.imencode(".jpg", PICTURE)[1])


def binary_tensor() -> tuple[bytes, dict[str, str]]:
    data = element(png())
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + data, {"Inference-Header-Content-Length": str(len(head))}


def json_tensor(name: str, datatype: str, shape: list[int], data: list[object]) -> bytes:
    tensor = {"name": name, "datatype": datatype, "shape": shape, "data": data}
    return json.dumps({"id": "7", "inputs": [tensor]}).encode()


PICTURE_TENSOR = json_tensor("image", "BYTES", [1], [base64.b64encode(png()).decode()])
FRAME_TENSOR = json_tensor("images", "UINT8", [1, SIZE, SIZE, 3], [20] * (SIZE * SIZE * 3))
BARE = {"jpeg": jpeg(), "raw frame": raw_frame()}
BAD_BODIES = {
    "empty": b"",
    "cut": png()[:60],
    "too many bytes": b"\xff\xd8\xff" + bytes(SETTINGS.max_body_bytes),
    "fields missing": b'{"height": 1}',
}
VISION = ("/v1/vision/detection", "/v1/vision/custom/{model}")
INFER = ("/v2/models/detect/infer", "/v2/models/yolov5/infer")
# What is asked: a path, a body and its headers.
ASKED: dict[str, tuple[str, bytes, dict[str, str]]] = {
    **{f"{path} {kind}": (path, body, {}) for path in VISION for kind, body in BARE.items()},
    **{f"{path} form": (path, form(jpeg()), {}) for path in VISION},
    "detect in JSON": (INFER[0], PICTURE_TENSOR, {}),
    "detect in bytes": (INFER[0], *binary_tensor()),
    "yolov5": (INFER[1], FRAME_TENSOR, {}),
}


def sent(client: FlaskClient, path: str, body: bytes, headers: dict[str, str]) -> TestResponse:
    return client.post(path.replace("{model}", "general"), data=body, headers=headers)


@pytest.mark.parametrize("kind", ASKED)
def test_protocols_are_answered_as_documented(
    client: FlaskClient, served: Document, engine: ScriptedEngine, kind: str
) -> None:
    path, body, headers = ASKED[kind]
    answer = sent(client, path, body, headers)
    engine.errors = [InferenceFailed("x")] * 2
    failed = sent(client, path, body, headers)
    engine.gate.clear()
    late = sent(client, path, body, {**headers, "X-Timeout-Ms": "20"})
    engine.gate.set()
    with client.application.extensions["detector"].batcher.queue.admit(SETTINGS.queue_size, "127.0.0.1"):
        full = sent(client, path, body, headers)
    answers = (answer, failed, late, full)
    assert [answer.status_code for answer in answers] == [200, 500, 504, 503]
    for answer in answers:
        served.check("post", path, answer.status_code, answer.headers, answer.data)


@pytest.mark.parametrize("path", [*VISION, *INFER])
@pytest.mark.parametrize("kind", BAD_BODIES)
def test_refusals_are_answered_as_documented(client: FlaskClient, served: Document, path: str, kind: str) -> None:
    answer = sent(client, path, BAD_BODIES[kind], {})
    assert 400 <= answer.status_code < 500
    served.check("post", path, answer.status_code, answer.headers, answer.data)


def test_a_model_that_is_not_served_is_answered_as_documented(client: FlaskClient, served: Document) -> None:
    answer = client.post("/v1/vision/custom/none", data=png())
    assert answer.status_code == 404
    served.check("post", VISION[1], 404, answer.headers, answer.data)


@pytest.mark.parametrize("path", [*VISION, *INFER])
@pytest.mark.parametrize("error", [*every_error(ServiceError)], ids=lambda error: error.__name__)
def test_every_detecting_path_says_how_each_error_is_answered(error: type[ServiceError], path: str) -> None:
    answer = document().answer("post", path, error.status)
    assert error.retry_after_s is None or answer["headers"]["Retry-After"]
    assert "code" not in vars(error) or inspect.getdoc(error).split("\n")[0] in answer["description"]


@pytest.mark.parametrize("what", ["", "/config", "/ready", "/stats", "/infer"])
@pytest.mark.parametrize("model", ["detect", "yolov5"])
def test_paths_with_a_version_answer_as_those_without_are_documented(
    client: FlaskClient, served: Document, model: str, what: str
) -> None:
    method = "post" if what == "/infer" else "get"
    body = {"detect": PICTURE_TENSOR, "yolov5": FRAME_TENSOR}[model] if method == "post" else None
    answer = client.open(f"/v2/models/{model}/versions/1{what}", method=method, data=body)
    assert answer.status_code == 200
    served.check(method, f"/v2/models/{model}{what}", 200, answer.headers, answer.data)


def test_limits_and_defaults_follow_the_settings() -> None:
    said = document(Settings(conf=0.7, max_body_bytes=77_777, max_side=333, max_files=12, queue_size=5))
    for path in (*VISION, *INFER):
        body = said.operation("post", path)["requestBody"]
        assert "77,777" in body["description"]
        assert body["content"]["application/octet-stream"]["schema"]["maxLength"] == 77_777
    schemas = said.json["components"]["schemas"]
    assert schemas["OipDetectRequest"]["properties"]["parameters"]["properties"]["conf"]["default"] == 0.7
    assert schemas["OipDetectInput"]["properties"]["data"]["maxItems"] == 5
    assert schemas["DeepStackPrediction"]["properties"]["x_max"]["maximum"] == 333


@pytest.mark.parametrize("classes", [("face", "a+b", "left (1)"), ("person", "a,b", " c")], ids=str)
def test_classes_of_an_inference_request_are_those_that_are_taken(classes: tuple[str, ...]) -> None:
    schema = document(classes=classes).json["components"]["schemas"]["OipDetectRequest"]["properties"]
    pattern = re.compile(schema["parameters"]["properties"]["classes"]["pattern"])
    taken = parameter(document(classes=classes), "/v1/detect", "classes")["schema"]["items"]["enum"]
    assert all(pattern.search(text) for text in (*taken, ",".join(taken)))
    assert not any(pattern.search(text) for text in ("", "none", f"{taken[0]},", "aab", "9"))
