"""What one client may ask of a balancing nginx: at a limit, under and over it; slow clients are dropped."""

import base64
import json
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from deploy.fleet import Fleet
from framefleet.machine.ports import reserved_ports
from tests.deploy.inventories import hosts
from tests.e2e.fleet import wait_until
from tests.e2e.hosts import OtherHost, nginx_of

pytestmark = pytest.mark.e2e
CAMERA, NEIGHBOUR, OWN_TOOLS = "127.0.0.11", "127.0.0.12", "127.0.0.1"
KEYS = '[keys]\nfile = "/etc/framefleet/keys"\nown = "/etc/framefleet/own.key"\n'
BURST = 3
# Slow enough for nobody to be given another request while a test lasts, if it lasts less than a minute.
RATE = f"rate = 1\nburst = {BURST}\n"


@contextmanager
def edge(folder: Path, limits: str, keys: str = "", other: OtherHost | None = None) -> Iterator[Fleet]:
    with reserved_ports() as port:
        balancer = f'[balancer]\nmode = "edge"\nhosts = ["h1"]\naddress = "127.0.0.1"\nport = {port}\n'
        host = hosts("gpus = []", "cpu = 1").replace("10.0.0.", "127.0.0.")
        inventory = balancer + host + keys + f"[limits]\n{limits}"
        with (other or OtherHost("h2")).listening("127.0.0.2", port), nginx_of(inventory, folder) as fleet:
            yield fleet


def connect(fleet: Fleet, address: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", fleet.balancer.port), timeout=30, source_address=(address, 0))


def ask(fleet: Fleet, address: str, path: str = "/v1/detect", **headers: str) -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", fleet.balancer.port, timeout=30, source_address=(address, 0))
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", path, b"picture", names)
    answer = connection.getresponse()
    answer.body = answer.read()  # type: ignore[attr-defined]
    connection.close()
    return answer


def statuses(fleet: Fleet, address: str, count: int, **headers: str) -> Counter[int]:
    return Counter(ask(fleet, address, **headers).status for _ in range(count))


def refused(counted: Counter[int]) -> bool:
    return counted[429] > 0


def test_up_to_the_rate_and_its_burst_everything_is_answered_and_then_there_is_a_429(tmp_path: Path) -> None:
    with edge(tmp_path, RATE) as fleet:
        assert statuses(fleet, CAMERA, 1 + BURST) == {200: 1 + BURST}
        # A request a second comes free, however slow this machine is.
        wait_until("one too many", lambda: refused(statuses(fleet, CAMERA, 5)))
        answer = ask(fleet, CAMERA)
        while answer.status == 200:
            answer = ask(fleet, CAMERA)
    document = json.loads(answer.body)  # type: ignore[attr-defined]
    assert (answer.headers["Retry-After"], answer.headers["Content-Type"]) == ("1", "application/problem+json")
    assert (document["status"], document["code"]) == (429, "too_many_requests")
    assert document["request_id"] == answer.headers["X-Request-ID"]


def test_another_address_and_the_hosts_own_tools_are_not_refused_for_it(tmp_path: Path) -> None:
    with edge(tmp_path, RATE) as fleet:
        wait_until("one too many", lambda: refused(statuses(fleet, CAMERA, 10)))
        assert statuses(fleet, NEIGHBOUR, 1 + BURST) == {200: 1 + BURST}
        assert statuses(fleet, OWN_TOOLS, 50) == {200: 50}


def test_who_waits_for_the_fleet_may_ask_as_often_as_it_likes(tmp_path: Path) -> None:
    with edge(tmp_path, RATE) as fleet:
        assert {ask(fleet, CAMERA, "/readyz").status for _ in range(30)} == {200}


def test_without_keys_a_made_up_header_makes_nobody_somebody_else(tmp_path: Path) -> None:
    with edge(tmp_path, RATE) as fleet:
        counted = Counter(ask(fleet, CAMERA, X_API_Key=f"k{n}").status for n in range(40))
    assert refused(counted)


@pytest.mark.parametrize(
    "way", [lambda key: {"Authorization": f"Bearer {key}"}, lambda key: {"X-API-Key": key}], ids=["bearer", "x-api-key"]
)
def test_a_key_is_one_client_wherever_it_comes_from_and_another_key_is_another(
    tmp_path: Path, way: Callable[[str], dict[str, str]]
) -> None:
    with edge(tmp_path, RATE, KEYS) as fleet:
        wait_until("one too many", lambda: refused(statuses(fleet, CAMERA, 10, **way("one"))))
        wait_until("elsewhere too", lambda: refused(statuses(fleet, NEIGHBOUR, 3, **way("one"))))
        assert statuses(fleet, CAMERA, 1 + BURST, **way("two")) == {200: 1 + BURST}
        assert statuses(fleet, CAMERA, 1 + BURST) == {200: 1 + BURST}


def test_the_hosts_own_tools_are_not_refused_with_a_key_either(tmp_path: Path) -> None:
    with edge(tmp_path, RATE, KEYS) as fleet:
        assert statuses(fleet, OWN_TOOLS, 50, Authorization="Bearer own") == {200: 50}


@pytest.mark.parametrize(
    "spelling",
    [
        lambda n: {"Authorization": "bearer  one", "X-API-Key": f"k{n}"},
        lambda n: {"Authorization": f"Other {n}", "X-API-Key": "one"},
        lambda n: {"Authorization": "Bearer " + "\t" * (n + 1) + "one"},
        lambda n: {"X-API-Key": "\t" * (n + 1) + "one"},
        lambda n: {"Authorization": "Basic " + base64.b64encode(f"user{n}:one".encode()).decode()},
    ],
    ids=["two headers", "another kind", "tabs", "tabs in the other", "basic"],
)
def test_no_spelling_of_a_key_makes_many_clients_of_one(
    tmp_path: Path, spelling: Callable[[int], dict[str, str]]
) -> None:
    with edge(tmp_path, RATE, KEYS) as fleet:
        counted = Counter(ask(fleet, CAMERA, **spelling(n)).status for n in range(40))
    assert refused(counted)


@pytest.mark.parametrize("limit", ["concurrency", "connections"])
def test_as_many_requests_as_allowed_are_in_work_at_once_and_the_next_is_refused(tmp_path: Path, limit: str) -> None:
    gate = threading.Event()
    other = OtherHost("h2", gate=gate)
    with ExitStack() as stack:
        fleet = stack.enter_context(edge(tmp_path, f"{limit} = 2\n", other=other))
        stack.callback(gate.set)
        waiting = [stack.enter_context(connect(fleet, CAMERA)) for _ in range(2)]
        for connection in waiting:
            connection.sendall(b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
        wait_until("two are in work", lambda: other.asked == 2)
        assert ask(fleet, CAMERA).status == 429
        gate.set()
        assert all(connection.recv(12) == b"HTTP/1.1 200" for connection in waiting)
        wait_until("room again", lambda: ask(fleet, CAMERA).status == 200)


def test_bodies_that_do_not_come_count_from_their_head_on(tmp_path: Path) -> None:
    with ExitStack() as stack:
        fleet = stack.enter_context(edge(tmp_path, "connections = 5\n"))
        slow = [stack.enter_context(connect(fleet, CAMERA)) for _ in range(6)]
        for connection in slow:
            connection.sendall(b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
        # One is too many, whichever nginx comes to last.
        ((refused_one, *_), _, _) = select.select(slow, [], [], 30)
        assert refused_one.recv(12) == b"HTTP/1.1 429"
        assert ask(fleet, CAMERA).status == 429
        assert ask(fleet, NEIGHBOUR).status == 200


def test_who_stops_in_the_middle_of_a_head_or_a_body_is_cut_off_without_an_answer(tmp_path: Path) -> None:
    other = OtherHost("h2")
    head = b"POST /v1/detect HTTP/1.1\r\nX-Slow: "
    body = b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"
    with edge(tmp_path, "", other=other) as fleet, connect(fleet, CAMERA) as one, connect(fleet, CAMERA) as two:
        for slow, start in ((one, head), (two, body)):
            slow.settimeout(60)
            slow.sendall(start)
        for slow in (one, two):
            assert slow.recv(4096) == b""
    assert other.asked == 0
