"""The pictures that users send, over every route: each is answered for itself, whatever a decoder makes of it."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from flask.testing import FlaskClient

from service.app import create_app
from service.pictures import png as png_module
from service.pipeline.detector import Detector
from service.settings import Settings
from tests.service.fakes import ScriptedEngine
from tests.service.scripted import binary_infer, element, json_infer, png, scripted_client

PICTURES = Path("tests/cases")
CLEAN = (PICTURES / "clean.jpg").read_bytes()
# How far from the clean picture's box each may be, in pixels; chroma is coarser in some.
SAME = {
    **dict.fromkeys(
        (
            *("extraneous-before-eoi", "extraneous-between-segments", "icc-empty-chunk", "icc-missing-chunk"),
            *("adobe-transform-2", "trailing-sos-pairs", "leading-newline"),
        ),
        1,
    ),
    **dict.fromkeys(("subsampling-441", "subsampling-410", "subsampling-3x1"), 2),
}
IMAGE = {"name": "image", "datatype": "BYTES", "shape": [1]}


@pytest.fixture(scope="module", params=[0, 1], ids=["whole", "scaled"])
def real(request: pytest.FixtureRequest, default_model: Path) -> Iterator[FlaskClient]:
    settings = Settings(model=str(default_model), jpeg_scaling=request.param, self_test_s=0)
    detector = Detector(settings)
    detector.start()
    yield create_app(settings, detector).test_client()
    detector.batcher.stop()


def face(answer: dict[str, Any]) -> tuple[np.ndarray, float]:
    (found,) = answer["detections"]
    return np.array(found["box"]), found["score"]


def form(*files: bytes) -> bytes:
    head = b'Content-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    return b"".join(b"--CASE\r\n" + head + file + b"\r\n" for file in files) + b"--CASE--\r\n"


@pytest.mark.parametrize("name", list(SAME))
def test_an_odd_picture_shows_the_same_face(real: FlaskClient, name: str) -> None:
    box, score = face(real.post("/v1/detect", data=CLEAN).get_json())
    odd_box, odd_score = face(real.post("/v1/detect", data=(PICTURES / f"{name}.jpg").read_bytes()).get_json())
    assert np.abs(odd_box - box).max() <= SAME[name]
    assert abs(odd_score - score) <= 0.02 * SAME[name]


def test_the_clean_picture_shows_the_face_that_was_drawn(real: FlaskClient) -> None:
    box, score = face(real.post("/v1/detect", data=CLEAN).get_json())
    assert np.abs(box - (177, 119, 226, 185)).max() <= 2 and abs(score - 0.83) <= 0.02


@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".png"])
def test_the_kind_of_file_changes_nothing(real: FlaskClient, suffix: str) -> None:
    pixels = cv2.imdecode(np.frombuffer(CLEAN, np.uint8), cv2.IMREAD_COLOR)
    body = bytes(cv2.imencode(suffix, pixels, [cv2.IMWRITE_WEBP_QUALITY, 95] if suffix == ".webp" else [])[1])
    box, score = face(real.post("/v1/detect", data=CLEAN).get_json())
    other_box, other_score = face(real.post("/v1/detect", data=body).get_json())
    assert np.abs(other_box - box).max() <= 2 and abs(other_score - score) <= 0.05


ROUTES = {
    "detect": lambda client, body: client.post("/v1/detect", data=body),
    "detect, drawn": lambda client, body: client.post("/v1/detect", data=body, headers={"Accept": "image/jpeg"}),
    "detect, form": lambda client, body: client.post("/v1/detect", data=form(body)),
    "first server": lambda client, body: client.post("/predict", data=body),
    "deepstack": lambda client, body: client.post("/v1/vision/detection", data=form(body)),
    "deepstack, custom": lambda client, body: client.post("/v1/vision/custom/general", data=form(body)),
    "oip": lambda client, body: binary_infer(client, "detect", IMAGE, element(body)),
    "oip, JSON": lambda client, body: json_infer(
        client, "detect", {**IMAGE, "data": [base64.b64encode(body).decode()]}
    ),
}
TAKEN = {
    "4:4:1": (PICTURES / "subsampling-441.jpg").read_bytes(),
    "4:1:0": (PICTURES / "subsampling-410.jpg").read_bytes(),
    "blanks before it": b"\r\n" + CLEAN,
    "spare bytes": (PICTURES / "extraneous-before-eoi.jpg").read_bytes(),
    "WebP": bytes(cv2.imencode(".webp", np.zeros((8, 8, 3), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 90])[1]),
    "BMP": bytes(cv2.imencode(".bmp", np.zeros((8, 8, 3), np.uint8))[1]),
}
BAD = {
    "cut": CLEAN[:5000] + b"\xff\xd9",
    "Apple's": (PICTURES / "apple-cgbi.png").read_bytes(),
    "HEIC": b"\0\0\0\x18ftypheic" + bytes(64),
    "GIF": b"GIF89a" + bytes(64),
    "TIFF": bytes(cv2.imencode(".tiff", np.zeros((8, 8, 3), np.uint8))[1]),
    "lossless WebP": bytes(cv2.imencode(".webp", np.zeros((8, 8, 3), np.uint8))[1]),
    "12-bit JPEG": b"\xff\xd8\xff\xc1\0\x0b\x0c\0\x08\0\x08\x01\x01\x11\0\xff\xd9",
}


@pytest.fixture
def settings() -> Settings:
    return Settings(queue_size=4, max_files=3, self_test_s=0)


@pytest.mark.parametrize("route", ROUTES.values(), ids=list(ROUTES))
@pytest.mark.parametrize("name", list(TAKEN))
def test_every_route_takes_it(client: FlaskClient, route: Any, name: str) -> None:
    answer = route(client, TAKEN[name])
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("route", ROUTES.values(), ids=list(ROUTES))
@pytest.mark.parametrize("name", list(BAD))
def test_every_route_refuses_it_by_its_name(client: FlaskClient, route: Any, name: str) -> None:
    answer = route(client, BAD[name])
    assert answer.status_code == (400 if name == "cut" else 415)
    assert {"cut": "damaged", "Apple's": "CgBI"}.get(name, name) in answer.text


FAILURES = [KeyError(6), cv2.error("assertion"), MemoryError(), ValueError("x"), RuntimeError("y"), OSError(5, "z")]


@pytest.mark.parametrize("route", ROUTES.values(), ids=list(ROUTES))
@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_whatever_a_decoder_raises_is_the_pictures_own_fault(
    client: FlaskClient, route: Any, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise failure

    monkeypatch.setattr(simplejpeg, "decode_jpeg", fail)
    assert route(client, CLEAN).status_code == 400


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_in_a_form_the_others_are_answered(
    client: FlaskClient, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise failure

    monkeypatch.setattr(png_module, "plain_png", fail)
    answer = client.post("/v1/detect", data=form(CLEAN, png(), CLEAN))
    first, second, third = answer.get_json()["results"]
    assert (answer.status_code, second["status"], second["code"]) == (200, 400, "malformed_body")
    assert "detections" in first and "detections" in third


def test_a_form_of_odd_pictures_is_answered_one_by_one(client: FlaskClient) -> None:
    results = client.post("/v1/detect", data=form(TAKEN["4:4:1"], BAD["Apple's"], CLEAN)).get_json()["results"]
    assert [result.get("status") for result in results] == [None, 415, None]


def test_the_log_names_what_a_decoder_raised_and_nothing_of_the_picture(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise KeyError("part of the picture")

    monkeypatch.setattr(simplejpeg, "decode_jpeg", fail)
    client.post("/v1/detect", data=CLEAN)
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "decoder_failed" in line]
    assert [line["error"] for line in logged] == ["KeyError"]
    assert "part of the picture" not in str(logged)


def test_pictures_in_a_form_need_no_file_name() -> None:
    with scripted_client(ScriptedEngine()) as client:
        for body in TAKEN.values():
            text = b'--CASE\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + body + b"\r\n--CASE--\r\n"
            assert client.post("/v1/detect", data=text).status_code == 200
