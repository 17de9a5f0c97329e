"""Whatever is thrown at the Open Inference Protocol's paths, the answer is the protocol's and nobody's 5xx."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.fakes import SIZE, ScriptedEngine
from tests.service.scripted import element, png, scripted_client

PATHS = ("/v2/models/detect/infer", "/v2/models/yolov5/versions/1/infer")
HEADERS = ("Inference-Header-Content-Length", "Content-Encoding", "Content-Type", "Accept-Encoding", "X-Request-ID")
EXAMPLES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# What WSGI lets through: no control characters, nothing beyond Latin-1.
header_text = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)
header_values = header_text | st.sampled_from(["gzip", "deflate", "identity", "0", "10", "120", "multipart/form-data"])
headers = st.dictionaries(st.sampled_from(HEADERS), header_values, max_size=4)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
inputs = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["image", "images"]) | scalars,
        "datatype": st.sampled_from(["BYTES", "FP32", "UINT8"]) | scalars,
        "shape": st.sampled_from([[1], [1, 1], [1, 3, SIZE, SIZE], [2, SIZE, SIZE, 3]]) | anything,
        "data": st.sampled_from([["/9j/"], ["iVBORw0KGgo="], [0.5] * 3 * SIZE * SIZE]) | anything,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(0, 100) | anything}),
    },
)
requests = st.fixed_dictionaries(
    {"inputs": st.lists(inputs, max_size=2) | anything},
    optional={"id": scalars, "parameters": anything, "outputs": anything},
)


@pytest.fixture(scope="module")
def client() -> Iterator[FlaskClient]:
    with scripted_client(ScriptedEngine()) as client:
        yield client


def assert_protocol(client: FlaskClient, path: str, body: bytes, sent: dict[str, str]) -> None:
    answer = client.post(path, data=body, headers=sent)
    assert answer.status_code < 500, answer.text
    if answer.status_code != 200:
        assert list(json.loads(answer.data)) == ["error"]
    assert client.application.extensions["detector"].batcher.queue.admitted == 0


@EXAMPLES
@given(path=st.sampled_from(PATHS), body=st.binary(max_size=300), sent=headers)
def test_arbitrary_bytes(client: FlaskClient, path: str, body: bytes, sent: dict[str, str]) -> None:
    assert_protocol(client, path, body, sent)


@EXAMPLES
@given(path=st.sampled_from(PATHS), request=requests, rest=st.binary(max_size=100), sent=headers)
def test_arbitrary_json_behind_the_right_keys(
    client: FlaskClient, path: str, request: dict[str, Any], rest: bytes, sent: dict[str, str]
) -> None:
    head = json.dumps(request).encode()
    assert_protocol(client, path, head + rest, {"Inference-Header-Content-Length": str(len(head)), **sent})
    assert_protocol(client, path, head, sent)


@EXAMPLES
@given(data=st.data(), compress=st.booleans())
def test_damaged_requests(client: FlaskClient, data: st.DataObject, compress: bool) -> None:
    picture = element(png())
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "datatype": "BYTES",
                    "shape": [1],
                    "parameters": {"binary_data_size": len(picture)},
                }
            ]
        }
    ).encode()
    body = bytearray(gzip.compress(head + picture, mtime=0) if compress else head + picture)
    for _ in range(data.draw(st.integers(0, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    del body[data.draw(st.integers(0, len(body))) or len(body) :]
    sent = {"Inference-Header-Content-Length": str(len(head)), **({"Content-Encoding": "gzip"} if compress else {})}
    assert_protocol(client, PATHS[0], bytes(body), sent)


@EXAMPLES
@given(
    name=st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=30),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]),
)
def test_arbitrary_paths(client: FlaskClient, name: str, method: str) -> None:
    for path in (f"/v2/{name}", f"/v2/models/{name}", f"/v2/models/detect/versions/{name}/infer"):
        answer = client.open(path, method=method)
        assert answer.status_code < 500
        assert answer.content_type in ("application/json", "application/problem+json", "application/octet-stream")
