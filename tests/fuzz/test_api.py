"""Whatever is sent to whichever route, the answer is JSON and nobody's 5xx, and the places are given back."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from service.errors import RequestError
from service.protocols.oip.request import InferRequest, read_request
from tests.fuzz.inputs import corpus, damaged, fuzz
from tests.fuzz.test_body import bodies
from tests.service.fakes import ScriptedEngine
from tests.service.scripted import scripted_client

INFER = ("/v2/models/detect/infer", "/v2/models/yolov5/infer")
PATHS = ("/predict", "/v1/detect", "/v1/vision/detection", "/v1/vision/custom/general", *INFER)
TOKENS = [
    *(b"{", b"}", b"[", b"]", b",", b'"', b"\\", b"\\ud800", b"null", b"true", b"-0", b"1e999", b"NaN", b"9" * 30),
    *(b'"inputs":', b'"data":', b'"shape":', b'"parameters":', b'"binary_data_size":', b'"outputs":', b'"BYTES"'),
    *(b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x1f\x8b\x08", b"\xff\xd8\xff", b"/9j/", b"iVBORw0KGgo"),
]
inferences = damaged([path.read_bytes() for path in corpus("inference")], TOKENS) | bodies
names = st.sampled_from(["conf", "iou", "max_det", "classes", "agnostic", "unknown", ""])
values = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(["0.5", "thing", "1e-9", "٣"])
lengths = st.integers(-1, 1000).map(str) | st.text("0123456789+-_ ²", max_size=8)
headers = st.fixed_dictionaries(
    {},
    optional={
        "Inference-Header-Content-Length": lengths,
        "Content-Encoding": st.sampled_from(["", "gzip", "deflate", "br"]),
        "X-Timeout-Ms": st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8) | lengths,
    },
)


@pytest.fixture(scope="module")
def client() -> Iterator[FlaskClient]:
    with scripted_client(ScriptedEngine()) as client:
        yield client


def check(
    client: FlaskClient,
    path: str,
    body: bytes,
    query: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> None:
    answer = client.post(path, data=body, query_string=query, headers=headers)
    assert answer.status_code < 500, answer.text
    if "Inference-Header-Content-Length" not in answer.headers:
        assert "json" in (answer.content_type or "")
        msgspec.json.decode(answer.data)
    assert client.application.extensions["detector"].batcher.queue.admitted == 0


@pytest.mark.parametrize("path", [*corpus("body"), *corpus("inference")], ids=lambda path: path.name)
def test_the_corpus(client: FlaskClient, path: Path) -> None:
    body = path.read_bytes()
    for route in PATHS:
        check(client, route, body)
    for encoding in ("gzip", "deflate"):
        check(client, INFER[0], body, headers={"Content-Encoding": encoding})


@fuzz()
@given(path=st.sampled_from(PATHS), body=bodies, query=st.dictionaries(names, values, max_size=3))
def test_damaged_bodies_and_queries(client: FlaskClient, path: str, body: bytes, query: dict[str, str]) -> None:
    check(client, path, body, query)


@fuzz(2)
@given(path=st.sampled_from(INFER), body=inferences, headers=headers)
def test_damaged_inference_requests(client: FlaskClient, path: str, body: bytes, headers: dict[str, str]) -> None:
    check(client, path, body, headers=headers)


@fuzz(4)
@given(body=inferences, length=st.none() | lengths)
def test_an_inference_request_is_read_or_refused(body: bytes, length: str | None) -> None:
    try:
        request = read_request(body, length)
    except RequestError as error:
        assert str(error)
    else:
        assert isinstance(request, InferRequest)
        assert len(request.tensor.data) <= len(body)
