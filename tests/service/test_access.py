import base64
import json
from hashlib import sha256
from pathlib import Path
from socket import gethostname

import cv2
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.access import require_keys
from service.keys import add_key
from service.problems import answer_problems
from service.settings import Settings

ELSEWHERE = {"REMOTE_ADDR": "192.0.2.7"}


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "keys"
    return {name: add_key(file, name, scopes) for name, scopes in (("cam", ["detect"]), ("boss", ["operate"]))}


@pytest.fixture
def settings(tmp_path: Path, keys: dict[str, str]) -> Settings:
    return Settings(instance="gpu0", keys=str(tmp_path / "keys"))


@pytest.fixture
def picture() -> bytes:
    return cv2.imencode(".png", np.zeros((32, 32, 3), np.uint8))[1].tobytes()


def basic(secret: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{secret}".encode()).decode()


@pytest.mark.parametrize("way", ["bearer", "x-api-key", "basic"])
def test_a_key_opens_the_door_however_it_is_sent(
    client: FlaskClient, picture: bytes, keys: dict[str, str], way: str
) -> None:
    secret = keys["cam"]
    headers = {
        "bearer": {"Authorization": f"Bearer {secret}"},
        "x-api-key": {"X-API-Key": secret},
        "basic": {"Authorization": basic(secret)},
    }[way]
    assert client.post("/v1/detect", data=picture, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": "wrong"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic wrong"},
        {"Authorization": "Digest x"},
        {"Authorization": basic("")},
    ],
    ids=["none", "header", "bearer", "basic", "another kind", "no password"],
)
def test_without_a_known_key_the_answer_is_401(client: FlaskClient, picture: bytes, headers: dict[str, str]) -> None:
    answer = client.post("/v1/detect", data=picture, headers=headers)
    assert (answer.status_code, answer.get_json()["code"]) == (401, "no_key")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "Authorization: Bearer KEY" in answer.get_json()["detail"]


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/predict", "POST"),
        ("/v1/vision/detection", "POST"),
        ("/v2/models/detect/infer", "POST"),
        ("/v2/models/detect", "GET"),
    ],
)
def test_every_protocol_is_locked_and_says_so_in_its_own_words(client: FlaskClient, path: str, method: str) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == 401
    assert "key: missing" in json.dumps(answer.get_json())


def test_a_key_of_another_scope_is_refused_by_name(client: FlaskClient, picture: bytes, keys: dict[str, str]) -> None:
    answer = client.post("/v1/detect", data=picture, headers={"X-API-Key": keys["boss"]})
    assert (answer.status_code, answer.get_json()["code"]) == (403, "wrong_scope")
    assert "boss may not detect" in answer.get_json()["detail"]


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/docs", "/openapi.json", "/v2/health/ready"])
def test_health_and_pages_are_open(client: FlaskClient, path: str) -> None:
    assert client.get(path, environ_base=ELSEWHERE).status_code == 200


@pytest.mark.parametrize("path", ["/status", "/metrics", "/fleet"])
def test_figures_are_for_this_machine_and_for_operators(client: FlaskClient, keys: dict[str, str], path: str) -> None:
    assert client.get(path).status_code == 200
    assert client.get(path, environ_base=ELSEWHERE).status_code == 401
    assert client.get(path, environ_base=ELSEWHERE, headers={"X-API-Key": keys["cam"]}).status_code == 403
    assert client.get(path, environ_base=ELSEWHERE, headers={"X-API-Key": keys["boss"]}).status_code == 200


def test_where_nobody_but_nginx_can_connect_figures_need_no_key(settings: Settings) -> None:
    app = Flask("behind nginx")
    require_keys(app, settings.keys, nginx_alone=True)
    app.add_url_rule("/status", view_func=lambda: "status")
    assert app.test_client().get("/status", environ_base=ELSEWHERE).status_code == 200


def test_logs_name_the_key_and_never_show_it(
    client: FlaskClient, keys: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    client.post("/v1/detect", data=b"no picture", headers={"X-API-Key": keys["cam"]})
    client.post("/v1/detect", data=b"no picture", headers={"Authorization": "Bearer not-a-key-of-ours"})
    logged = capsys.readouterr().err
    assert '"key": "cam"' in logged
    assert keys["cam"] not in logged and "not-a-key-of-ours" not in logged


@pytest.mark.parametrize("path", ["/status", "/metrics"])
def test_figures_are_not_given_out_by_a_name_that_is_not_this_machines(client: FlaskClient, path: str) -> None:
    foreign = ("evil.example.org", "127.0.0.1.evil.org:80", "localhost.evil.org", f"{gethostname()}.evil.org", "")
    for host in foreign:
        answer = client.get(path, headers={"Host": host})
        assert (answer.status_code, answer.get_json()["code"]) == (421, "unknown_host"), host
    for host in ("127.0.0.1:8101", "10.0.0.1", "[::1]:80", "[::1]", "LOCALHOST:1", gethostname()):
        assert client.get(path, headers={"Host": host}).status_code == 200, host


def test_what_cannot_be_counted_as_a_key_is_none(client: FlaskClient, picture: bytes, tmp_path: Path) -> None:
    odd = ("x" * 256, "two words", "k\u00e9y")
    lines = (f"odd{number}:{sha256(text.encode()).hexdigest()}:detect\n" for number, text in enumerate(odd))
    ring = Flask("odd keys")
    (tmp_path / "odd").write_text("".join(lines))
    require_keys(ring, str(tmp_path / "odd"))
    answer_problems(ring)
    ring.add_url_rule("/v1/detect", view_func=lambda: "boxes", methods=["POST"])
    for text in odd:
        password = {"Authorization": basic(text)}
        assert ring.test_client().post("/v1/detect", headers=password).status_code == 401


def test_nginx_is_told_about_a_key_without_a_request_being_counted(client: FlaskClient, keys: dict[str, str]) -> None:
    asked = {"X-Key-Check": "1"}
    fits = client.post("/v1/detect", headers={**asked, "X-API-Key": keys["cam"]})
    assert (fits.status_code, "X-Key" in fits.headers) == (204, False)
    assert (
        client.post("/v1/detect", headers={**asked, "Authorization": basic(keys["cam"])}).headers["X-Key"]
        == keys["cam"]
    )
    refused = client.post("/v1/detect", headers=asked)
    assert (refused.status_code, refused.headers["X-Refusal"]) == (401, refused.get_data(as_text=True))
    assert client.get("/metrics").text.count('status="204"') == 0


def test_nginx_asks_about_keys_where_there_are_none_and_gets_no_answer_to_the_request_itself() -> None:
    app = Flask("open")
    require_keys(app, "")
    app.add_url_rule("/v1/detect", view_func=lambda: "boxes", methods=["GET"])
    assert app.test_client().get("/v1/detect", headers={"X-Key-Check": "1"}).status_code == 204
