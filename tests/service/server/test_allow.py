"""Who may connect to an instance that listens beyond loopback."""

import http.client
import ipaddress
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.errors import StartError
from service.server.allow import parse_allow
from tests.instance import ROOT, RunningInstance, running_instance

BALANCER, STRANGER = "127.0.0.5", "127.0.0.6"


@pytest.fixture(scope="module")
def instance(free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningInstance]:
    log = tmp_path_factory.mktemp("instance") / "log"
    with running_instance(free_port(), "simulated:a_ms=1", log, allow=f"127.0.0.1, {BALANCER}/32") as running:
        yield running


def connect(instance: RunningInstance, address: str) -> socket.socket:
    port = int(instance.url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(address, 0))


def status(instance: RunningInstance, address: str) -> int:
    with connect(instance, address) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status


def received_by(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1000)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("address", ["127.0.0.1", BALANCER])
def test_who_is_named_is_answered(instance: RunningInstance, address: str) -> None:
    assert status(instance, address) == 200


def test_a_stranger_gets_not_a_byte_and_need_not_send_one(instance: RunningInstance) -> None:
    with connect(instance, STRANGER) as silent:
        assert received_by(silent) == b""


def test_a_crowd_of_strangers_takes_no_thread_from_the_balancer(instance: RunningInstance) -> None:
    # More than an instance has threads.
    strangers = [connect(instance, STRANGER) for _ in range(60)]
    try:
        assert status(instance, BALANCER) == 200
        assert {received_by(stranger) for stranger in strangers} == {b""}
    finally:
        for stranger in strangers:
            stranger.close()


def test_strangers_in_the_queue_do_not_hide_a_request_that_waits_when_the_instance_stops(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    with running_instance(free_port(), "simulated:a_ms=1", tmp_path / "log", allow=f"127.0.0.1,{BALANCER}") as instance:
        worker = int(Path(f"/proc/{instance.process.pid}/task/{instance.process.pid}/children").read_text().split()[0])
        os.kill(worker, signal.SIGSTOP)
        with connect(instance, STRANGER), connect(instance, BALANCER) as waiting:
            waiting.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            instance.process.terminate()
            os.kill(worker, signal.SIGCONT)
            assert waiting.recv(12) == b"HTTP/1.1 200"


def test_addresses_and_networks_are_read_and_nothing_else_is() -> None:
    one, many = ipaddress.ip_network("10.0.0.1/32"), ipaddress.ip_network("fd00::/8")
    assert parse_allow("10.0.0.1, fd00::/8") == (one, many)
    assert parse_allow("") == ()
    for text in ("gpu1", "10.0.0.1/8", "10.0.0.1,"):
        with pytest.raises(StartError, match=r"FRAMEFLEET_ALLOW: .*; write such as"):
            parse_allow(text)


@pytest.mark.parametrize(
    "arguments", [["-m", "service", "--check"], ["-m", "gunicorn", "-c", "service/server/gunicorn.conf.py"]]
)
def test_what_is_no_address_stops_the_start_with_one_line(arguments: list[str]) -> None:
    environment = {**os.environ, "FRAMEFLEET_ALLOW": "gpu1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 78
    assert done.stderr.count("\n") == 1 and "FRAMEFLEET_ALLOW: 'gpu1'" in done.stderr
