"""The HTTP surface of one instance, over an engine whose answers the test knows."""

import base64
import io
import json

import cv2
import numpy as np
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from framefleet.wire.timing import read_server_timing
from service.errors import InferenceFailed
from service.protocols.native.routes import max_files
from service.settings import Settings
from tests.service.fakes import SIZE, ScriptedEngine
from tests.service.scripted import PICTURE, png, scripted_client


def first_server_body() -> str:
    image = base64.b64encode(PICTURE.tobytes()).decode()
    return json.dumps({"height": SIZE, "width": SIZE, "image": image})


@pytest.mark.parametrize(
    "content_type", [None, "application/x-www-form-urlencoded", "multipart/form-data", "application/json", "text/plain"]
)
@pytest.mark.parametrize("body", [png(), first_server_body()], ids=["png", "first server's JSON"])
def test_predict_reads_the_body_by_its_bytes_whatever_its_type(
    client: FlaskClient, body: bytes | str, content_type: str | None
) -> None:
    answer = client.post("/predict", data=body, content_type=content_type)
    assert (answer.status_code, answer.get_json()) == (200, [{"1": [0, 0, 30, 20, 0.9]}])


def test_detect_names_labels_sizes_model_and_times(client: FlaskClient) -> None:
    answer = client.post("/v1/detect", data=png(), headers={"X-Request-ID": "camera-7"})
    document = answer.get_json()
    timings = document.pop("timings_ms")
    assert document == {
        "detections": [{"label": "other", "class_id": 1, "score": 0.9, "box": [0.0, 0.0, 30.0, 20.0]}],
        "image": {"width": SIZE, "height": SIZE},
        "model": {"name": "scripted", "input": [SIZE, SIZE]},
        "request_id": "camera-7",
    }
    assert list(timings) == ["decode", "queue", "infer", "post"]
    header = answer.headers["Server-Timing"]
    assert read_server_timing(header) == pytest.approx(timings)
    assert ';desc="batch of 1", post;' in header


def test_query_parameters_choose_the_boxes(client: FlaskClient) -> None:
    assert client.post("/v1/detect?conf=0.95", data=png()).get_json()["detections"] == []
    assert client.post("/v1/detect?classes=thing", data=png()).get_json()["detections"] == []
    assert len(client.post("/v1/detect?classes=other", data=png()).get_json()["detections"]) == 1


def test_predict_ignores_what_is_not_its_protocol(client: FlaskClient) -> None:
    assert client.post("/predict?conf=0.95", data=png()).get_json() == [{"1": [0, 0, 30, 20, 0.9]}]


def test_every_answer_says_who_gave_it(client: FlaskClient) -> None:
    for answer in (client.get("/livez"), client.post("/predict", data=b"?"), client.get("/nowhere")):
        assert answer.headers["X-Instance"] == "gpu0"
        assert len(answer.headers["X-Request-ID"]) == 32


def test_an_insane_request_id_is_replaced(client: FlaskClient) -> None:
    given = "x" * 4000
    assert client.get("/livez", headers={"X-Request-ID": given}).headers["X-Request-ID"] != given


def test_health_and_status_name_instance_and_release(client: FlaskClient) -> None:
    assert client.get("/readyz").get_json() == {"status": "ready", "instance": "gpu0", "release": "r1"}
    assert client.get("/livez").get_json() == {"status": "alive", "instance": "gpu0"}
    client.post("/predict", data=png())
    status = client.get("/status").get_json()
    assert (status["model"]["name"], status["queue"], status["counts"]["frames"]) == (
        "scripted",
        {"admitted": 0, "limit": 4},
        1,
    )


def assert_problem(answer: TestResponse, status: int, code: str) -> dict[str, object]:
    assert answer.content_type == "application/problem+json"
    document = json.loads(answer.data)
    assert (answer.status_code, document["status"], document["code"]) == (status, status, code)
    assert document["detail"] and document["title"] and document["request_id"] == answer.headers["X-Request-ID"]
    return document


@pytest.mark.parametrize("route", ["/predict", "/v1/detect"])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed_body"),
        (b"plain words", 415, "unsupported_body"),
        (png()[:60], 400, "malformed_body"),
        (b"{", 400, "malformed_body"),
        (b'{"height": 1, "width": 1}', 422, "invalid_value"),
        (b"\xff\xd8\xff" + bytes(200_000), 413, "body_too_large"),
    ],
    ids=["empty", "text", "cut png", "cut json", "missing field", "oversize"],
)
def test_bad_bodies_are_problems_and_the_next_request_is_answered(  # noqa: PLR0917 - one argument a column
    client: FlaskClient, route: str, body: bytes, status: int, code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_problem(client.post(route, data=body), status, code)
    assert client.post(route, data=png()).status_code == 200
    assert "Traceback" not in capfd.readouterr().err


def test_wrong_paths_and_methods_are_problems(client: FlaskClient) -> None:
    assert_problem(client.get("/nowhere"), 404, "not_found")
    answer = client.get("/predict")
    assert_problem(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["Allow"]


def test_a_refused_batch_is_answered_plainly_and_logged_in_full(
    client: FlaskClient, engine: ScriptedEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    engine.errors = [InferenceFailed("secret tensor shapes")]
    document = assert_problem(client.post("/predict", data=png()), 500, "inference_failed")
    assert "secret" not in str(document)
    assert "secret tensor shapes" in capfd.readouterr().err


def test_a_deadline_is_a_504(client: FlaskClient, engine: ScriptedEngine) -> None:
    engine.gate.clear()
    answer = client.post("/predict", data=png(), headers={"X-Timeout-Ms": "20"})
    engine.gate.set()
    assert_problem(answer, 504, "deadline_exceeded")


def test_overload_is_a_503_with_retry_after(client: FlaskClient) -> None:
    with client.application.extensions["detector"].batcher.queue.admit(4, "127.0.0.1"):
        answer = client.post("/predict", data=png())
        assert client.get("/readyz").status_code == 200
    assert_problem(answer, 503, "overloaded")
    assert answer.headers["Retry-After"] == "1"


def test_failures_leave_one_json_line_and_no_picture(client: FlaskClient, capfd: pytest.CaptureFixture[str]) -> None:
    client.post("/predict", data=png()[:60], headers={"X-Request-ID": "bad-1"})
    (line,) = capfd.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["request_id"], event["status"]) == ("request_failed", "bad-1", 400)


def form(*files: bytes) -> dict[str, object]:
    return {"image": [(io.BytesIO(content), f"{number}.png") for number, content in enumerate(files)]}


def test_a_form_with_one_file_is_answered_like_the_file_itself(client: FlaskClient) -> None:
    answer = client.post("/v1/detect", data=form(png()), content_type="multipart/form-data")
    assert answer.get_json()["detections"] == client.post("/v1/detect", data=png()).get_json()["detections"]
    assert client.post("/predict", data=form(png())).get_json() == [{"1": [0, 0, 30, 20, 0.9]}]


def test_a_form_with_several_files_answers_each_and_a_bad_one_fails_alone(client: FlaskClient) -> None:
    results = client.post("/v1/detect", data=form(png(), b"no picture", png())).get_json()["results"]
    assert [result["name"] for result in results] == ["0.png", "1.png", "2.png"]
    assert [len(result.get("detections", "?")) for result in results] == [1, 1, 1]
    assert (results[1]["status"], results[1]["code"]) == (415, "unsupported_body")


def test_a_form_of_which_nothing_can_be_answered_is_an_error(client: FlaskClient) -> None:
    document = assert_problem(client.post("/v1/detect", data=form(b"one", b"two")), 422, "invalid_value")
    assert "0.png: " in str(document["detail"]) and "1.png: " in str(document["detail"])


def test_more_files_than_allowed_are_refused_for_good(client: FlaskClient) -> None:
    document = assert_problem(client.post("/v1/detect", data=form(*[png()] * 4)), 422, "invalid_value")
    assert "at most 3" in str(document["detail"])


def test_no_more_files_are_allowed_than_there_are_places() -> None:
    assert max_files(Settings(max_files=16, queue_size=4)) == 4


def test_a_form_that_finds_too_few_places_is_overload(client: FlaskClient) -> None:
    with client.application.extensions["detector"].batcher.queue.admit(2, "127.0.0.1"):
        assert_problem(client.post("/v1/detect", data=form(png(), png(), png())), 503, "overloaded")


def test_a_picture_comes_back_annotated_when_asked_for(client: FlaskClient) -> None:
    answer = client.post("/v1/detect", data=png(), headers={"Accept": "image/jpeg"})
    assert (answer.content_type, answer.headers["Server-Timing"][:6]) == ("image/jpeg", "decode")
    drawn = cv2.imdecode(np.frombuffer(answer.data, np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == PICTURE.shape
    assert np.abs(drawn.astype(int) - PICTURE).max() > 50


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html", "image/*;q=0.1, application/json"])
def test_json_is_what_comes_back_otherwise(client: FlaskClient, accept: str) -> None:
    assert client.post("/v1/detect", data=png(), headers={"Accept": accept}).content_type == "application/json"


def test_one_in_so_many_good_requests_is_logged(engine: ScriptedEngine, capfd: pytest.CaptureFixture[str]) -> None:
    with scripted_client(engine, Settings(log_every=3)) as client:
        for _ in range(7):
            client.post("/predict", data=png())
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [(line["event"], line["status"]) for line in lines] == [("request", 200)] * 2
