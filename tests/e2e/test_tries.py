"""Real nginx before instances that take a request and die of it: how often it runs, and what the client is told."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from deploy.machine import run
from framefleet.machine.ports import reserved_ports
from tests.deploy.fleets import fleet_of
from tests.deploy.guard.test_waiting_room import Serve, instance, room
from tests.e2e.fleet import direct_session
from tests.e2e.hosts import nginx_alone

pytestmark = pytest.mark.e2e
LIMIT_S = 20
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n" + bytes(4_000_000)
Ask = Callable[..., requests.Response]


@contextmanager
def balanced(folder: Path, count: int, serve: Serve | None, taken: list[int]) -> Iterator[Ask]:
    """A fleet's nginx and room before instances that do as they are told; none listens if that is None."""
    with reserved_ports(count + 1) as port, ExitStack() as stack:
        machine = run.host_facts(None, os.environ)
        environ = {"FRAMEFLEET_DEADLINE_MS": "30000"}
        fleet = fleet_of(count, var=folder, port=port, instance_port=port + 1, machine=machine, environ=environ)
        stack.enter_context(nginx_alone(fleet))
        stack.enter_context(room(fleet.paths.waiting_room, fleet.held_for))
        if serve:
            for one in fleet.instances:
                stack.enter_context(instance(one.port, serve, taken))
        session = stack.enter_context(direct_session())

        def ask(method: str = "POST", path: str = "/v1/detect", **headers: str) -> requests.Response:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            return session.request(method, f"{fleet.balancer.url}{path}", data=b"x", headers=names, timeout=LIMIT_S)

        yield ask


def die_at_once(connection: socket.socket) -> None:
    connection.recv(65536)


def die_late(connection: socket.socket) -> None:
    connection.recv(65536)
    time.sleep(2.6)


def die_in_the_middle(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(HALF)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_picture_that_kills_reaches_three_instances_at_most(tmp_path: Path, count: int) -> None:
    taken: list[int] = []
    with balanced(tmp_path, count, die_at_once, taken) as ask:
        answer = ask()
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (502, "no_instance", "1")
    assert len(taken) == 3


def test_a_request_that_took_over_5_s_in_two_tries_is_not_tried_again(tmp_path: Path) -> None:
    taken: list[int] = []
    with balanced(tmp_path, 3, die_late, taken) as ask:
        answer = ask()
    assert (answer.status_code, answer.headers["Retry-After"], len(taken)) == (502, "1", 2)


def test_where_none_listens_nobody_is_held_who_asks_for_health_or_has_no_time(tmp_path: Path) -> None:
    with balanced(tmp_path, 2, None, []) as ask:
        # Held for 30 s these would fail.
        seen = [ask("GET", "/readyz"), ask("GET", "/status"), ask(X_Timeout_Ms="100")]
    assert [answer.status_code for answer in seen] == [502, 502, 502]


def test_an_answer_that_is_cut_is_seen_to_be(tmp_path: Path) -> None:
    taken: list[int] = []
    with balanced(tmp_path, 2, die_in_the_middle, taken) as ask, pytest.raises(requests.RequestException, match="read"):
        ask()
    assert len(taken) == 1
