"""The document follows the declarations that validate, and every real answer is as it says."""

import base64
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.app import create_app
from service.engines import EngineInfo
from service.errors import InferenceFailed, OutOfMemory, ServiceError
from service.keys import add_key
from service.pipeline.detector import Detector
from service.protocols.document import openapi_document
from service.protocols.native.query import PARAMETERS, TIMEOUT
from service.protocols.native.routes import default_selection
from service.settings import Settings
from tests.service.documented import Document
from tests.service.fakes import SIZE, ScriptedEngine

SETTINGS = Settings(instance="gpu0", release="r1", queue_size=4, max_body_bytes=200_000, max_side=2000)
DETECTING = ("/v1/detect", "/predict")
PAGES = ("/", "/fleet", "/docs", "/docs.css", "/static/")  # for people
# The Open Inference Protocol's paths with a version in them are described with those that have none.
VERSIONED = "/versions/<version>"


def document(settings: Settings = SETTINGS, classes: tuple[str, ...] = ("face", "plate")) -> Document:
    info = EngineInfo("scripted", "m", "none", (SIZE, SIZE), 4, classes)
    return Document(json.loads(msgspec.json.encode(openapi_document(settings, info, "http://here:8101"))))


def parameter(said: Document, path: str, name: str) -> dict[str, object]:
    (found,) = [p for p in said.operation("post", path)["parameters"] if p["name"] == name]
    return found


@pytest.mark.parametrize("declared", PARAMETERS, ids=lambda declared: declared.name)
def test_every_query_parameter_stands_with_its_limits_and_default(declared) -> None:
    said = parameter(document(), "/v1/detect", declared.name)
    schema = said["schema"]
    assert declared.why[1:] in said["description"]
    assert (said["in"], said.get("required", False)) == ("query", False)
    if declared.kind in ("number", "integer"):
        assert (schema["type"], schema["minimum"], schema["maximum"]) == (declared.kind, declared.low, declared.high)
    if declared.kind != "classes":
        assert schema["default"] == getattr(default_selection(SETTINGS), declared.name)


def test_no_parameter_stands_that_is_not_declared() -> None:
    names = [said["name"] for said in document().operation("post", "/v1/detect")["parameters"]]
    assert names == [*(declared.name for declared in PARAMETERS), TIMEOUT.name, "X-Request-ID"]


def test_the_classes_are_those_of_the_model() -> None:
    said = parameter(document(classes=("face", "1", "a,b", " c")), "/v1/detect", "classes")
    # Names that can't be written in a list are left to their ids; a name that looks like an id is a name.
    assert said["schema"]["items"]["enum"] == ["face", "1", "0", "2", "3"]
    assert all(name in said["description"] for name in ("0 `face`", "1 `1`", "2 `a,b`"))
    assert (
        document(classes=tuple("abc")).json["components"]["schemas"]["Detection"]["properties"]["class_id"]["maximum"]
        == len("abc") - 1
    )


def test_limits_and_defaults_follow_the_settings() -> None:
    changed = Settings(
        conf=0.7,
        iou=0.2,
        max_det=9,
        deadline_ms=1234,
        max_body_bytes=77_777,
        max_pixels=55_555,
        max_side=333,
        max_files=12,
        queue_size=5,
    )
    said = document(changed)
    defaults = {name: parameter(said, "/v1/detect", name)["schema"]["default"] for name in ("conf", "iou", "max_det")}
    assert defaults == {"conf": 0.7, "iou": 0.2, "max_det": 9}
    for path in DETECTING:
        assert parameter(said, path, TIMEOUT.name)["schema"]["default"] == 1234
        body = said.operation("post", path)["requestBody"]
        assert all(figure in body["description"] for figure in ("77,777", "55,555", "333"))
        assert body["content"]["image/jpeg"]["schema"]["maxLength"] == 77_777
    sides = said.json["components"]["schemas"]["RawFrame"]["properties"]
    assert (sides["height"]["maximum"], sides["width"]["maximum"]) == (333, 333)
    forms = [said.operation("post", path)["requestBody"]["content"]["multipart/form-data"] for path in DETECTING]
    assert [form["schema"]["properties"]["image"]["maxItems"] for form in forms] == [5, 1]


def every_error(error: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for kind in error.__subclasses__():
        yield kind
        yield from every_error(kind)


@pytest.mark.parametrize("path", DETECTING)
@pytest.mark.parametrize("error", [*every_error(ServiceError), ServiceError], ids=lambda error: error.__name__)
def test_every_error_that_can_be_answered_stands_with_its_status_and_code(error: type[ServiceError], path: str) -> None:
    said = document()
    answer = said.answer("post", path, error.status)
    schema = answer["content"]["application/problem+json"]["schema"]
    problem = {"type": "about:blank", "title": error.title, "status": error.status, "code": error.code}
    said.validate(schema, {**problem, "detail": "why", "request_id": "1"})
    assert "code" not in vars(error) or (error is ServiceError) or inspect.getdoc(error).split("\n")[0] in str(answer)
    assert error.retry_after_s is None or answer["headers"]["Retry-After"]
    with pytest.raises(ValueError, match="is not one of"):
        said.validate(schema, {**problem, "code": "made_up", "detail": "why", "request_id": "1"})


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def make_app(engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Settings], Flask]]:
    monkeypatch.setattr("service.pipeline.detector.load_engine", lambda settings: engine)
    started: list[Detector] = []

    def make(settings: Settings) -> Flask:
        started.append(Detector(settings))
        started[-1].start()
        return create_app(settings, started[-1])

    yield make
    engine.gate.set()
    for detector in started:
        detector.batcher.stop()


@pytest.fixture
def client(make_app: Callable[[Settings], Flask]) -> FlaskClient:
    return make_app(SETTINGS).test_client()


@pytest.fixture
def served(client: FlaskClient) -> Document:
    return Document(client.get("/openapi.json").get_json())


def test_every_route_stands_with_its_methods_and_no_other_does(client: FlaskClient, served: Document) -> None:
    routes = client.application.url_map
    adapter = routes.bind("")
    ours = {
        (rule.rule, method)
        for rule in routes.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if VERSIONED not in rule.rule and not _is_page(rule.rule)
    }
    described = {
        (adapter.match(path, method.upper(), return_rule=True)[0].rule, method.upper())
        for path, item in served.json["paths"].items()
        for method in item
    }
    assert described == ours


def _is_page(path: str) -> bool:
    return any(path == given or (given[1:] and path.startswith(given)) for given in PAGES)


def encoded(suffix: str, side: int = SIZE) -> bytes:
    return bytes(cv2.imencode(suffix, np.full((side, side, 3), (30, 20, 1), np.uint8))[1])


def raw_frame() -> bytes:
    image = base64.b64encode(bytes(SIZE * SIZE * 3)).decode()
    return json.dumps({"height": SIZE, "width": SIZE, "image": image}).encode()


def form(*files: bytes) -> bytes:
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="image"; filename="{place}.jpg"\r\n\r\n'.encode() + data + b"\r\n"
        for place, data in enumerate(files)
    ]
    return b"".join(parts) + b"--b--\r\n"


BODIES = {
    "jpeg": encoded(".jpg"),
    "png": encoded(".png"),
    "raw frame": raw_frame(),
    "form with one file": form(encoded(".jpg")),
    "form with several": form(encoded(".jpg"), encoded(".png")),
    "form with a broken one": form(encoded(".jpg"), encoded(".png")[:60]),
}
BAD_BODIES = {
    "empty": (b"", 400),
    "cut": (encoded(".png")[:60], 400),
    "too many bytes": (b"\xff\xd8\xff" + bytes(200_000), 413),
    "too many pixels": (encoded(".png", 2001), 413),
    "of no kind": (b"plain words", 415),
    "fields missing": (b'{"height": 1}', 422),
    "form without a good file": (form(b"?", b"?"), 422),
}


@pytest.mark.parametrize("accept", ["application/json", "image/jpeg"])
@pytest.mark.parametrize("query", ["", "?conf=0.95", "?classes=other&max_det=1"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_detections_are_answered_as_documented(
    client: FlaskClient, served: Document, body: bytes, query: str, accept: str
) -> None:
    answer = client.post(f"/v1/detect{query}", data=body, headers={"Accept": accept})
    assert answer.status_code == 200
    served.check("post", "/v1/detect", 200, answer.headers, answer.data)


@pytest.mark.parametrize("kind", ["jpeg", "png", "raw frame", "form with one file"])
def test_the_first_servers_answers_are_as_documented(client: FlaskClient, served: Document, kind: str) -> None:
    answer = client.post("/predict", data=BODIES[kind])
    assert answer.get_json() != [] or kind == "raw frame"
    served.check("post", "/predict", 200, answer.headers, answer.data)


@pytest.mark.parametrize("path", DETECTING)
@pytest.mark.parametrize(("body", "status"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_refusals_are_answered_as_documented(
    client: FlaskClient, served: Document, path: str, body: bytes, status: int
) -> None:
    answer = client.post(path, data=body)
    assert answer.status_code == status
    served.check("post", path, status, answer.headers, answer.data)


@pytest.mark.parametrize("path", DETECTING)
@pytest.mark.parametrize("error", [InferenceFailed("x"), OutOfMemory("x")], ids=lambda error: error.code)
def test_failures_are_answered_as_documented(
    client: FlaskClient, served: Document, engine: ScriptedEngine, path: str, error: ServiceError
) -> None:
    engine.errors = [error] * 3
    answer = client.post(path, data=BODIES["png"])
    assert answer.status_code == error.status
    served.check("post", path, error.status, answer.headers, answer.data)


@pytest.mark.parametrize("kind", ["png", "form with several"])
def test_lateness_and_overload_are_answered_as_documented(
    client: FlaskClient, served: Document, engine: ScriptedEngine, kind: str
) -> None:
    engine.gate.clear()
    late = client.post("/v1/detect", data=BODIES[kind], headers={"X-Timeout-Ms": "20"})
    engine.gate.set()
    with client.application.extensions["detector"].batcher.queue.admit(SETTINGS.queue_size, "127.0.0.1"):
        full = client.post("/v1/detect", data=BODIES[kind])
    assert (late.status_code, full.status_code) == (504, 503)
    for answer in (late, full):
        served.check("post", "/v1/detect", answer.status_code, answer.headers, answer.data)


def test_everything_else_is_answered_as_documented(client: FlaskClient, served: Document) -> None:
    client.post("/predict", data=BODIES["png"])
    for path, item in served.json["paths"].items():
        wrong = client.delete(path)
        assert wrong.status_code == 405
        for method in item:
            served.check(method, path, 405, wrong.headers, wrong.data)
        if "get" in item:
            answer = client.get(path)
            assert answer.status_code == 200
            served.check("get", path, 200, answer.headers, answer.data)


def test_a_member_that_is_not_documented_is_noticed(client: FlaskClient, served: Document) -> None:
    answer = client.post("/v1/detect", data=BODIES["png"])
    schema = served.answer("post", "/v1/detect", 200)["content"]["application/json"]["schema"]
    with pytest.raises(ValueError, match="not valid"):
        served.validate(schema, {**answer.get_json(), "extra": 1})


def test_keys_are_only_spoken_of_where_they_are_asked_for() -> None:
    assert "security" not in document().json
    assert "securitySchemes" not in document().json["components"]
    assert "API key" not in document().json["info"]["description"]


def test_every_route_says_whether_it_asks_for_a_key_and_how_it_is_sent(
    tmp_path: Path, make_app: Callable[[Settings], Flask]
) -> None:
    secret = add_key(tmp_path / "keys", "cam", ["detect"])
    settings = Settings(instance="gpu0", keys=str(tmp_path / "keys"))
    said = document(settings).json
    ways = {
        "bearer": {"Authorization": f"Bearer {secret}"},
        "header": {"X-API-Key": secret},
        "password": {"Authorization": "Basic " + base64.b64encode(f"any:{secret}".encode()).decode()},
    }
    assert [list(way) for way in said["security"]] == [[name] for name in ways]
    assert said["components"]["securitySchemes"].keys() == ways.keys()
    assert "`Authorization: Bearer KEY`" in said["info"]["description"]
    client = make_app(settings).test_client()
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    for path, item in said["paths"].items():
        for method, operation in item.items():
            answer = client.open(path, method=method.upper(), environ_base=elsewhere)
            assert (answer.status_code != 401) == (operation.get("security") == []), (method, path)
    for headers in ways.values():
        assert client.post("/predict", data=b"no picture", headers=headers).status_code == 415
