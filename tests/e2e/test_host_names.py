"""By which names a real nginx gives figures out: a web page's own name, led here by its DNS, is none of them."""

import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from deploy.fleet import Fleet
from framefleet.machine.ports import reserved_ports
from tests.deploy.inventories import hosts
from tests.e2e.hosts import OtherHost, nginx_of

pytestmark = pytest.mark.e2e
FIGURES = ("/fleet", "/status", "/metrics", "/_fleet.json", "/_targets.json", "/_instances/cpu0/status")
OTHERS = ("/_programs.json", "/_programs/metrics", "/_hosts/h2/_programs.json")
OWN = socket.gethostname()
KNOWN = ("127.0.0.1", "10.0.0.1:80", "[::1]:8080", "localhost", "LocalHost:80", "h1", "h2:80", "Fleet.Example.org", OWN)
FOREIGN = ("evil.example.org", "h1.evil.org", "127.0.0.1.evil.org", f"{OWN}.evil.org", "localhost.evil.org", "evil:80")
FOREIGN += ("fleetXexample.org", "1.2.3.4.5", "2130706433", "_", "x.h1", "")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with reserved_ports() as port:
        inventory = f'[balancer]\nmode = "edge"\nhosts = ["h1"]\naddress = "127.0.0.1"\nport = {port}\n'
        inventory += hosts("cpu = 1", "cpu = 1").replace("10.0.0.", "127.0.0.")
        inventory += '[monitoring]\nnames = ["fleet.example.org"]\n'
        with (
            OtherHost("h2").listening("127.0.0.2", port),
            nginx_of(inventory, tmp_path_factory.mktemp("nginx")) as running,
        ):
            yield running


def ask(fleet: Fleet, path: str, host: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", fleet.balancer.port, timeout=30)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    status, body = answer.status, answer.read()
    connection.close()
    return status, body


@pytest.mark.parametrize("path", [*FIGURES, *OTHERS])
def test_figures_are_refused_to_who_asks_by_a_foreign_name(fleet: Fleet, path: str) -> None:
    for host in FOREIGN:
        status, body = ask(fleet, path, host)
        assert status in (400, 421), host
        if status == 421:
            assert (json.loads(body)["code"], "monitoring.names" in json.loads(body)["detail"]) == (
                "unknown_host",
                True,
            )
    assert ask(fleet, path, "evil.example.org")[0] == 421


def test_figures_are_given_by_addresses_and_by_every_name_of_the_fleet(fleet: Fleet) -> None:
    assert {host: ask(fleet, "/_fleet.json", host)[0] for host in KNOWN} == dict.fromkeys(KNOWN, 200)
    assert {host: ask(fleet, "/status", host)[0] for host in KNOWN} == dict.fromkeys(KNOWN, 200)


def test_clients_may_call_the_service_whatever_they_like(fleet: Fleet) -> None:
    assert {ask(fleet, path, "cameras.example.org")[0] for path in ("/readyz", "/", "/v2")} == {200}


@pytest.mark.parametrize("path", ["/readyz", "/livez", "/status", "/_instances/cpu0/status"])
def test_what_takes_no_body_reads_none(fleet: Fleet, path: str) -> None:
    with socket.create_connection(("127.0.0.1", fleet.balancer.port), timeout=30) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000000\r\n\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 413"
