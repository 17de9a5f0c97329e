"""What the Open Inference Protocol's paths refuse: as {"error": ...}, with the status that says whose fault it is."""

import base64
import gzip
import json
import zlib
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import service.protocols.oip.tensors
from service.errors import InferenceFailed
from service.protocols.oip.routes import PIECE_BYTES, inflater
from service.settings import Settings
from tests.service.fakes import SIZE, ScriptedEngine
from tests.service.scripted import SETTINGS, binary_infer, element, json_infer, png, scripted_client

IMAGE = {"name": "image", "datatype": "BYTES", "shape": [1]}
IMAGES = {"name": "images", "datatype": "FP32", "shape": [1, 3, SIZE, SIZE]}
FRAME_BYTES = 3 * SIZE * SIZE * 4
PNG = png()
PNG_TEXT = base64.b64encode(PNG).decode()


def assert_error(answer: TestResponse, status: int, *words: str) -> None:
    assert answer.content_type == "application/json"
    document = json.loads(answer.data)
    assert (answer.status_code, list(document)) == (status, ["error"]), document
    assert all(word in document["error"] for word in words), document


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/nowhere", 404),
        ("GET", "/v2/models/nothing", 404),
        ("POST", "/v2/models//infer", 404),
        ("GET", "/v2/models/detect/versions/2", 404),
        ("GET", "/v2/models/detect/versions/2/ready", 404),
        ("POST", "/v2/models/nothing/infer", 404),
        ("POST", "/v2/models/detect/versions/x/infer", 404),
        ("GET", "/v2/models/nothing/stats", 404),
        ("GET", "/v2/models/nothing/config", 404),
        ("GET", "/v2/models/detect/infer", 405),
        ("POST", "/v2", 405),
        ("GET", "/v2/repository/index", 405),
    ],
)
def test_wrong_paths_and_methods(client: FlaskClient, method: str, path: str, status: int) -> None:
    assert_error(client.open(path, method=method), status)


def test_other_paths_keep_their_problem_documents(client: FlaskClient) -> None:
    for path in ("/v2x", "/v1/detect", "/nowhere"):
        assert client.get(path).content_type == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "object"),
        (b"\xff\xfe", "malformed"),
        (b"{}", "inputs"),
        (b'{"inputs": []}', "length 1"),
        (b'{"inputs": 5}', "array"),
        (b'{"inputs": [{"name": "image", "datatype": "BYTES"}]}', "shape"),
        (b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1]}]}', "no data"),
        (b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["/9j/"]}], "id": 5}', "id"),
        (b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": "x", "data": []}]}', "shape"),
        (b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1], "data": []}]}', "shape"),
        (b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1.5], "data": []}]}', "shape"),
        (b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [], "data": []}]}', "dimensions"),
        (
            b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1,1,1,1,1,1,1,1,1], "data": []}]}',
            "dimensions",
        ),
        (b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [9223372036854775808], "data": []}]}', "shape"),
        (b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [' + b"9" * 5000 + b'], "data": []}]}', "shape"),
        (b'{"inputs": ' + b"[" * 5000 + b"]" * 5000 + b"}", ""),
        (b'{"inputs": [{"name": "\xff", "datatype": "BYTES", "shape": [1], "data": []}]}', ""),
    ],
    ids=str,
)
def test_bodies_that_break_the_protocol_are_a_400(client: FlaskClient, body: bytes, words: str) -> None:
    assert_error(client.post("/v2/models/detect/infer", data=body), 400, words)


@pytest.mark.parametrize(
    ("model", "tensor", "status", "word"),
    [
        ("detect", {**IMAGE, "name": "picture", "data": [PNG_TEXT]}, 422, "'image'"),
        ("detect", {**IMAGE, "datatype": "FP32", "data": [1.0]}, 422, "BYTES"),
        ("detect", {**IMAGE, "shape": [0], "data": []}, 422, "[n]"),
        ("detect", {**IMAGE, "shape": [1, 2], "data": [PNG_TEXT, PNG_TEXT]}, 422, "[n]"),
        ("detect", {**IMAGE, "shape": [2], "data": [PNG_TEXT]}, 400, "2 values"),
        ("detect", {**IMAGE, "data": [PNG_TEXT, PNG_TEXT]}, 400, "1 values"),
        ("detect", {**IMAGE, "data": PNG_TEXT}, 400, "1 values"),
        ("detect", {**IMAGE, "data": [5]}, 422, "str"),
        ("detect", {**IMAGE, "data": ["hello"]}, 422, "base64"),
        ("detect", {**IMAGE, "data": ["/9j/\U0001f600"]}, 422, "base64"),
        ("detect", {**IMAGE, "data": ["/9j/!"]}, 400, "base64"),
        ("detect", {**IMAGE, "data": [PNG_TEXT[:60]]}, 400, "data[0]"),
        ("detect", {**IMAGE, "data": [PNG_TEXT], "parameters": {"binary_data_size": 4}}, 400, "both"),
        ("detect", {**IMAGE, "parameters": {"shared_memory_region": "x"}}, 422, "shared_memory_region"),
        ("yolov5", {**IMAGES, "datatype": "FP64", "data": [1.0]}, 422, "FP32"),
        ("yolov5", {**IMAGES, "shape": [1, 3, 2 * SIZE, SIZE], "data": [1.0]}, 422, f"[n, 3, {SIZE}, {SIZE}]"),
        ("yolov5", {**IMAGES, "shape": [3, SIZE, SIZE], "data": [1.0]}, 422, f"[n, 3, {SIZE}, {SIZE}]"),
        ("yolov5", {**IMAGES, "data": [1.0]}, 400, "3072 values"),
        ("yolov5", {**IMAGES, "data": [2.0] * 3072}, 422, "divided by 255"),
        ("yolov5", {**IMAGES, "data": [-0.1] * 3072}, 422, "divided by 255"),
        ("yolov5", {**IMAGES, "data": ["a"] * 3072}, 422, "float"),
        ("yolov5", {**IMAGES, "data": [[0.5] * 3071, 0.5]}, 400, "3072 values"),
        ("yolov5", {**IMAGES, "datatype": "UINT8", "shape": [1, SIZE, SIZE, 3], "data": [256] * 3072}, 422, "255"),
        ("yolov5", {**IMAGES, "datatype": "UINT8", "shape": [1, SIZE, SIZE, 3], "data": [0.5] * 3072}, 422, "int"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else str(value),
)
def test_tensors_that_do_not_fit_are_refused_with_the_reason(
    client: FlaskClient, model: str, tensor: dict[str, Any], status: int, word: str
) -> None:
    assert_error(json_infer(client, model, tensor), status, word)


def test_two_inputs_are_refused(client: FlaskClient) -> None:
    tensor = {**IMAGE, "data": [PNG_TEXT]}
    assert_error(client.post("/v2/models/detect/infer", json={"inputs": [tensor, tensor]}), 400, "length 1")


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "elements"),
        (b"\x01", "ends before"),
        (element(PNG)[:-1], "ends before"),
        (element(PNG) + b"\0", "elements"),
        (element(PNG) + element(PNG), "elements"),
        (b"\xff\xff\xff\xff" + PNG, "4294967295"),
    ],
    ids=["empty", "cut length", "cut", "trailing", "one too many", "huge length"],
)
def test_binary_elements_must_fill_their_tensor(client: FlaskClient, data: bytes, word: str) -> None:
    assert_error(binary_infer(client, "detect", IMAGE, data), 400, word)


@pytest.mark.parametrize("size", [0, FRAME_BYTES - 1, FRAME_BYTES - 4, FRAME_BYTES + 1, FRAME_BYTES + 4])
def test_binary_frames_must_have_their_shapes_size(client: FlaskClient, size: int) -> None:
    assert_error(binary_infer(client, "yolov5", IMAGES, bytes(size)), 400, str(FRAME_BYTES))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.01, -0.01])
def test_one_bad_number_in_a_frame_is_found(client: FlaskClient, value: float) -> None:
    frame = np.full(3 * SIZE * SIZE, 0.5, np.float32)
    frame[-1] = value
    assert_error(binary_infer(client, "yolov5", IMAGES, frame.tobytes()), 422, "0 to 1")


@pytest.mark.parametrize("length", ["", "x", "-1", "1.0", "9" * 30, "100000", "²", "0", "5"])
def test_a_wrong_header_length_is_a_400(client: FlaskClient, length: str) -> None:
    body = b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["x"]}]}'
    headers = {"Inference-Header-Content-Length": length}
    assert_error(client.post("/v2/models/detect/infer", data=body, headers=headers), 400)


@pytest.mark.parametrize("size", ["5", -1, 0, 10**30, 1.5, True, None])
def test_a_wrong_binary_size_is_a_400(client: FlaskClient, size: object) -> None:
    tensor = {**IMAGE, "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    assert_error(client.post("/v2/models/detect/infer", data=head + element(PNG), headers=headers), 400)


@pytest.mark.parametrize(
    ("request_", "status", "word"),
    [
        ({"parameters": {"conf": 2}}, 422, "conf"),
        ({"parameters": {"conf": {}}}, 422, "conf"),
        ({"parameters": {"conf": None}}, 422, "conf"),
        ({"parameters": {"threshold": 1}}, 422, "threshold"),
        ({"parameters": {"conf": 10**400}}, 422, "conf"),
        ({"parameters": {"timeout": -1}}, 422, "timeout"),
        ({"parameters": {"timeout": "soon"}}, 422, "timeout"),
        ({"parameters": {"binary_data_output": 1}}, 400, "binary_data_output"),
        ({"parameters": []}, 400, "parameters"),
        ({"parameters": {"x" * 17_000: 1}}, 400, "16384"),
        ({"outputs": [{"name": "nothing"}]}, 422, "count, boxes"),
        ({"outputs": [{"name": "count"}, {"name": "count"}]}, 422, "twice"),
        ({"outputs": [{"name": "count", "parameters": {"classification": 3}}]}, 422, "classification"),
        ({"outputs": [{"name": "count", "parameters": {"binary_data": "yes"}}]}, 400, "binary_data"),
        ({"outputs": {}}, 400, "outputs"),
        ({"id": "x" * 257}, 400, "id"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_asked_for_is_checked(client: FlaskClient, request_: dict[str, Any], status: int, word: str) -> None:
    assert_error(binary_infer(client, "detect", IMAGE, element(PNG), **request_), status, word)


def test_yolov5_has_no_thresholds_of_its_own(client: FlaskClient) -> None:
    assert_error(binary_infer(client, "yolov5", IMAGES, bytes(FRAME_BYTES), parameters={"conf": 0.5}), 422, "conf")


@pytest.mark.parametrize(("count", "status"), [(2, 200), (3, 200), (4, 422)])
def test_as_many_pictures_as_the_setting_says_and_no_more(client: FlaskClient, count: int, status: int) -> None:
    pictures = {**IMAGE, "shape": [count]}
    assert binary_infer(client, "detect", pictures, element(PNG) * count).status_code == status
    frames = {"name": "images", "datatype": "UINT8", "shape": [count, SIZE, SIZE, 3]}
    assert binary_infer(client, "yolov5", frames, bytes(3 * SIZE * SIZE * count)).status_code == status


def test_a_huge_shape_allocates_nothing(client: FlaskClient) -> None:
    shape = [2**62, 3, SIZE, SIZE]
    assert_error(json_infer(client, "yolov5", {**IMAGES, "shape": shape, "data": [0]}), 422, str(2**62))
    assert_error(json_infer(client, "detect", {**IMAGE, "shape": [2**62], "data": ["x"]}), 422, str(2**62))


@pytest.mark.parametrize(("most", "status"), [(3071, 413), (3072, 200), (3073, 200)])
def test_only_so_many_numbers_are_read_from_json(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, most: int, status: int
) -> None:
    monkeypatch.setattr(service.protocols.oip.tensors, "MAX_JSON_NUMBERS", most)
    assert json_infer(client, "yolov5", {**IMAGES, "data": [0] * 3072}).status_code == status


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
@pytest.mark.parametrize(("excess", "status", "word"), [(-1, 400, "JSON"), (0, 400, "JSON"), (1, 413, "200000")])
def test_a_compressed_body_may_not_grow_beyond_the_limit(
    client: FlaskClient, compress: Any, excess: int, status: int, word: str
) -> None:
    encoding = {"Content-Encoding": "gzip" if compress is gzip.compress else "deflate"}
    body = compress(b"x" * (SETTINGS.max_body_bytes + excess))
    assert len(body) < 1000
    assert_error(client.post("/v2/models/detect/infer", data=body, headers=encoding), status, word)


@pytest.mark.parametrize("body", [b"", b"x", gzip.compress(b"{}")[:-1], gzip.compress(b"{}") + b"x"], ids=str)
def test_damaged_compression_is_a_400(client: FlaskClient, body: bytes) -> None:
    answer = client.post("/v2/models/detect/infer", data=body, headers={"Content-Encoding": "gzip"})
    assert_error(answer, 400, "gzip")


@pytest.mark.parametrize("encoding", ["br", "gzip, deflate", "x" * 100])
def test_unknown_compression_is_a_415(client: FlaskClient, encoding: str) -> None:
    answer = client.post("/v2/models/detect/infer", data=b"{}", headers={"Content-Encoding": encoding})
    assert_error(answer, 415, "gzip, deflate")


def test_an_oversize_body_is_a_413(client: FlaskClient) -> None:
    assert_error(client.post("/v2/models/detect/infer", data=bytes(SETTINGS.max_body_bytes + 1)), 413, "200000")


def test_an_oversize_picture_is_a_413() -> None:
    with scripted_client(ScriptedEngine(), Settings(max_side=SIZE - 1)) as client:
        assert_error(binary_infer(client, "detect", IMAGE, element(PNG)), 413, "data[0]")


@pytest.mark.parametrize(
    ("model", "tensor", "data"), [("detect", IMAGE, element(PNG)), ("yolov5", IMAGES, bytes(FRAME_BYTES))]
)
def test_overload_deadline_and_faults(
    client: FlaskClient,
    engine: ScriptedEngine,
    model: str,
    tensor: dict[str, Any],
    data: bytes,
) -> None:
    with client.application.extensions["detector"].batcher.queue.admit(4, "127.0.0.1"):
        answer = binary_infer(client, model, tensor, data)
    assert_error(answer, 503)
    assert answer.headers["Retry-After"] == "1"
    engine.errors = [InferenceFailed("secret tensor shapes")]
    assert_error(binary_infer(client, model, tensor, data), 500, "request id")
    assert binary_infer(client, model, tensor, data).status_code == 200
    engine.gate.clear()
    assert_error(binary_infer(client, model, tensor, data, parameters={"timeout": 20_000}), 504, "deadline")
    engine.gate.set()


def test_of_several_frames_the_first_failure_is_the_answer_and_places_are_given_back(
    client: FlaskClient, engine: ScriptedEngine
) -> None:
    frames = {"name": "images", "datatype": "UINT8", "shape": [3, SIZE, SIZE, 3]}
    engine.errors = [InferenceFailed("one")] * 4
    assert_error(binary_infer(client, "yolov5", frames, bytes(3 * SIZE * SIZE * 3)), 500)
    engine.errors = []
    assert client.application.extensions["detector"].batcher.queue.admitted == 0
    assert binary_infer(client, "yolov5", frames, bytes(3 * SIZE * SIZE * 3)).status_code == 200


def test_a_bad_picture_among_good_ones_is_named(client: FlaskClient) -> None:
    data = element(PNG) + element(PNG[:60])
    assert_error(binary_infer(client, "detect", {**IMAGE, "shape": [2]}, data), 400, "data[1]")


def test_what_is_packed_is_unpacked_in_pieces() -> None:
    inflate = inflater("gzip", 10**7)
    assert inflate
    pieces = [*inflate(gzip.compress(bytes(10**7))), *inflate(b"")]
    assert (sum(map(len, pieces)), max(map(len, pieces))) == (10**7, PIECE_BYTES)
