"""What a client sees of nginx: its errors are problem documents too, and it leaves the instances' answers alone."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import Any

import pytest
import requests

from deploy.machine.control import Control
from tests.e2e.fleet import LocalFleet, direct_session, ready, wait_until

pytestmark = pytest.mark.e2e

FIELDS = {"type", "title", "status", "code", "detail", "request_id"}
LIMIT_BYTES = 64 * 2**20


@pytest.fixture
def client() -> Iterator[requests.Session]:
    with direct_session() as session:
        yield session


def raw_request(fleet: LocalFleet, request: bytes) -> tuple[HTTPResponse, dict[str, Any]]:
    """Sends bytes that no HTTP client would."""
    with socket.create_connection(("127.0.0.1", fleet.port), timeout=10) as connection:
        connection.sendall(request)
        answer = HTTPResponse(connection)
        answer.begin()
        return answer, json.loads(answer.read())


@contextmanager
def stopped_instances(fleet: LocalFleet) -> Iterator[None]:
    with Control(fleet.paths) as control:
        control.stop("cpu0", "cpu1")
        try:
            yield
        finally:
            for index in range(2):
                control.start(f"cpu{index}")
            wait_until("instances ready again", lambda: all(ready(fleet.instance_url(i)) for i in range(2)))


def log_entry(fleet: LocalFleet, request_id: str) -> dict[str, Any]:
    def entries() -> list[dict[str, Any]]:
        lines = fleet.paths.access_log.read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["request_id"] == request_id]

    wait_until(f"{request_id} logged", lambda: bool(entries()))
    return entries()[0]


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        pytest.param(b"NONSENSE\r\n\r\n", 400, "bad_request", id="no HTTP"),
        pytest.param(b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400, "bad_request", id="bad header"),
        pytest.param(b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method_not_allowed", id="TRACE"),
        pytest.param(b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n", 414, "uri_too_long", id="long URI"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 40_000 + b"\r\n\r\n", 431, "headers_too_large", id="headers"
        ),
        pytest.param(b"GET /_problem HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not_found", id="internal location"),
        pytest.param(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (LIMIT_BYTES + 1),
            413,
            "body_too_large",
            id="body announced too large",
        ),
        pytest.param(
            b"POST /v2/models/detect/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (LIMIT_BYTES + 1),
            413,
            "body_too_large",
            id="of another protocol too",
        ),
    ],
)
def test_nginx_refuses_with_a_problem_document(fleet: LocalFleet, request_bytes: bytes, status: int, code: str) -> None:
    answer, document = raw_request(fleet, request_bytes)
    assert (answer.status, document["status"], document["code"]) == (status, status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert document.keys() == FIELDS
    assert answer.headers["X-Request-ID"] == document["request_id"] != ""
    assert answer.headers["Retry-After"] is None


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_a_body_over_the_limit_gets_its_answer_although_it_is_not_read(
    fleet: LocalFleet, client: requests.Session, chunked: bool
) -> None:
    body = bytes(LIMIT_BYTES + 1)
    parts = (body[at : at + 2**20] for at in range(0, len(body), 2**20))
    answer = client.post(f"{fleet.url}/v1/detect", data=parts if chunked else body, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_the_largest_body_reaches_an_instance(fleet: LocalFleet, client: requests.Session) -> None:
    answer = client.post(f"{fleet.url}/v1/detect", data=bytes(LIMIT_BYTES), timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_body")
    assert answer.headers["X-Instance"] in ("cpu0", "cpu1")


def test_without_instances_clients_get_a_502_that_says_when_to_come_back(
    fleet: LocalFleet, client: requests.Session, picture: bytes
) -> None:
    with stopped_instances(fleet):
        answer = client.post(f"{fleet.url}/v1/detect", data=picture, timeout=10)
    assert (answer.status_code, answer.headers["Retry-After"]) == (502, "1")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.json()["status"], answer.json()["code"]) == (502, "no_instance")


@pytest.mark.parametrize("route", ["/nowhere", "/predict", "/v1/detect"])
def test_an_instances_own_error_passes_unchanged(fleet: LocalFleet, client: requests.Session, route: str) -> None:
    headers = {"X-Request-ID": "same-for-both"}
    direct = client.post(fleet.instance_url(0) + route, data=b"no picture", headers=headers, timeout=10)
    balanced = client.post(fleet.url + route, data=b"no picture", headers=headers, timeout=10)
    assert balanced.status_code == direct.status_code >= 400
    assert balanced.content == direct.content
    assert balanced.headers["Content-Type"] == direct.headers["Content-Type"]


def test_an_instances_own_5xx_passes_unchanged_and_is_not_run_again(
    fleet: LocalFleet, client: requests.Session, picture: bytes
) -> None:
    headers = {"X-Timeout-Ms": "1", "X-Request-ID": "too-late"}
    answer = client.post(f"{fleet.url}/v1/detect", data=picture, headers=headers, timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert answer.headers["X-Instance"] in ("cpu0", "cpu1")
    assert log_entry(fleet, "too-late")["upstream_status"] == "504"


def test_a_sane_request_id_is_kept_and_any_other_replaced(fleet: LocalFleet, client: requests.Session) -> None:
    ids = {}
    for given in ("abc-1.2:3@x/y+z=_", 'quo"te', "x" * 129):
        answer = client.get(f"{fleet.url}/readyz", headers={"X-Request-ID": given}, timeout=10)
        ids[given] = answer.headers["X-Request-ID"]
    kept, *made = ids.items()
    assert kept[0] == kept[1]
    assert all(given != answered and len(answered) == 32 for given, answered in made)


def test_the_access_log_tells_who_answered_and_how_long_it_took(
    fleet: LocalFleet, client: requests.Session, picture: bytes
) -> None:
    answer = client.post(f"{fleet.url}/v1/detect?conf=0.5", data=picture, timeout=10)
    entry = log_entry(fleet, answer.json()["request_id"])
    expected = {"method": "POST", "uri": "/v1/detect?conf=0.5", "status": 200, "client": "127.0.0.1"}
    assert entry | expected == entry
    assert entry["upstream_addr"] in {url.removeprefix("http://") for url in map(fleet.instance_url, range(2))}
    assert entry["upstream_status"] == "200"
    assert entry["bytes"] > len(answer.content) and entry["request_bytes"] > len(picture)
    assert 0 <= float(entry["upstream_connect_time"]) <= float(entry["upstream_response_time"])
    assert entry["request_time"] >= 0


def test_both_instances_share_the_load(fleet: LocalFleet, picture: bytes) -> None:
    def ask(_: int) -> str:
        with direct_session() as session:
            return session.post(f"{fleet.url}/v1/detect", data=picture, timeout=10).headers["X-Instance"]

    with ThreadPoolExecutor(8) as pool:
        answered = list(pool.map(ask, range(80)))
    assert 20 <= answered.count("cpu0") <= 60


def test_while_it_winds_down_every_answer_ends_its_connection(
    fleet: LocalFleet, client: requests.Session, picture: bytes
) -> None:
    def answer() -> requests.Response:
        return client.post(f"{fleet.url}/v1/detect", data=picture, timeout=10)

    assert answer().headers["Connection"] == "keep-alive"
    fleet.paths.winding_down.touch()
    try:
        ending = answer()
    finally:
        fleet.paths.winding_down.unlink()
    assert (ending.status_code, ending.headers["Connection"]) == (200, "close")
    assert answer().headers["Connection"] == "keep-alive"
