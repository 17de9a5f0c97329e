"""Real nginx in front of other hosts: what is down, drained or empty costs no request; HTTPS for clients."""

import socket
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests

from framefleet.machine.ports import reserved_ports
from tests.deploy.inventories import hosts
from tests.e2e.fleet import ROOT, direct_session
from tests.e2e.hosts import OtherHost, nginx_of

pytestmark = pytest.mark.e2e
SECOND, THIRD = "127.0.0.2", "127.0.0.3"


@pytest.fixture
def port() -> Iterator[int]:
    with reserved_ports(2) as first:
        yield first


def edge(port: int, *lines: str) -> str:
    """h1 balances over h2 at 127.0.0.2 and h3 at 127.0.0.3, all on the same port."""
    mode = f'[balancer]\nmode = "edge"\nhosts = ["h1"]\naddress = "127.0.0.1"\nport = {port}\n'
    return mode + hosts("gpus = []", *lines).replace("10.0.0.", "127.0.0.")


def ask(url: str, count: int = 1) -> Counter[str]:
    """Sends pictures; counts the answers by what they say and their status."""
    with direct_session() as session:
        answers = [session.post(f"{url}/v1/detect", data=b"picture", timeout=30) for _ in range(count)]
    return Counter(f"{answer.text} {answer.status_code}" for answer in answers)


@contextmanager
def silent(address: str, port: int) -> Iterator[None]:
    """A host that is gone without a word: connections to it are neither taken nor refused."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(0)
        # Once the queue is full the kernel drops whatever asks to connect.
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((address, port))
        yield


def test_requests_are_shared_by_how_many_instances_a_host_has(tmp_path: Path, port: int) -> None:
    two, three = OtherHost("h2"), OtherHost("h3")
    with (
        two.listening(SECOND, port),
        three.listening(THIRD, port),
        nginx_of(edge(port, "cpu = 3", "cpu = 1"), tmp_path) as fleet,
    ):
        assert ask(fleet.balancer.url, 40).keys() == {"h2 200", "h3 200"}
    assert (two.asked, three.asked) == (30, 10)


def test_a_host_that_refuses_connections_costs_no_request(tmp_path: Path, port: int) -> None:
    with OtherHost("h2").listening(SECOND, port), nginx_of(edge(port, "cpu = 1", "cpu = 1"), tmp_path) as fleet:
        assert ask(fleet.balancer.url, 20) == {"h2 200": 20}


def test_a_host_that_is_gone_without_a_word_costs_no_request(tmp_path: Path, port: int) -> None:
    with (
        OtherHost("h2").listening(SECOND, port),
        silent(THIRD, port),
        nginx_of(edge(port, "cpu = 1", "cpu = 1"), tmp_path) as fleet,
    ):
        assert ask(fleet.balancer.url, 10) == {"h2 200": 10}


def test_a_host_without_instances_draws_no_traffic(tmp_path: Path, port: int) -> None:
    # It answers 502 at once, so by its free connections alone it would look like the best choice.
    empty = OtherHost("h3", status=502)
    with (
        OtherHost("h2").listening(SECOND, port),
        empty.listening(THIRD, port),
        nginx_of(edge(port, "cpu = 1", "cpu = 1"), tmp_path) as fleet,
    ):
        assert ask(fleet.balancer.url, 20) == {"h2 200": 20}
    assert 0 < empty.asked < 10


def test_a_host_that_sheds_is_not_taken_for_dead(tmp_path: Path, port: int) -> None:
    with (
        OtherHost("h2").listening(SECOND, port),
        OtherHost("h3", status=503).listening(THIRD, port),
        nginx_of(edge(port, "cpu = 1", "cpu = 1"), tmp_path) as fleet,
    ):
        assert ask(fleet.balancer.url, 20) == {"h2 200": 10, "h3 503": 10}


def test_a_drained_host_gets_nothing_and_a_returned_one_its_share(tmp_path: Path, port: int) -> None:
    inventory, seen = edge(port, "cpu = 1", "cpu = 1"), []
    with OtherHost("h2").listening(SECOND, port), OtherHost("h3").listening(THIRD, port):
        for drained in ("h3",), ():
            with nginx_of(inventory, tmp_path / f"{len(seen)}", drained=drained) as fleet:
                seen.append(ask(fleet.balancer.url, 10))
    assert seen == [{"h2 200": 10}, {"h2 200": 5, "h3 200": 5}]


def test_with_every_host_gone_the_answer_is_a_problem_document(tmp_path: Path, port: int) -> None:
    with nginx_of(edge(port, "cpu = 1", "cpu = 1"), tmp_path) as fleet, direct_session() as session:
        answer = session.post(f"{fleet.balancer.url}/v1/detect", data=b"picture", timeout=30)
    assert (answer.status_code, answer.json()["code"]) == (502, "no_instance")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.4, with its key beside it as key.pem, made as a person makes one."""
    var = tmp_path_factory.mktemp("var")
    command = ("make", "certificate", "NAME=edge1", "ADDRESS=127.0.0.4", f"VAR={var}")
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert (var / "tls/key.pem").stat().st_mode & 0o077 == 0
    return var / "tls/fullchain.pem"


def with_tls(inventory: str, certificate: Path, port: int) -> str:
    key = certificate.with_name("key.pem")
    tls = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\nport = {port}\n'
    return inventory.replace('"127.0.0.1"\nport', '"127.0.0.4"\nport') + tls


def test_clients_get_https_and_are_sent_there(tmp_path: Path, port: int, certificate: Path) -> None:
    inventory = with_tls(edge(port, "cpu = 1"), certificate, port + 1)
    with OtherHost("h2").listening(SECOND, port), nginx_of(inventory, tmp_path) as fleet, direct_session() as session:
        secure = session.post(
            f"https://127.0.0.4:{port + 1}/v1/detect", data=b"picture", verify=str(certificate), timeout=30
        )
        plain = session.post(f"http://127.0.0.4:{port}/v1/detect?conf=0.5", data=b"picture", allow_redirects=False)
        tools = session.post(f"{fleet.balancer.url}/v1/detect", data=b"picture", timeout=30)
        mixed_up = session.post(f"http://127.0.0.4:{port + 1}/v1/detect", data=b"picture", timeout=30)
    assert (mixed_up.status_code, mixed_up.json()["code"]) == (400, "bad_request")
    assert (secure.status_code, secure.text) == (200, "h2")
    assert (plain.status_code, plain.headers["Location"]) == (308, f"https://127.0.0.4:{port + 1}/v1/detect?conf=0.5")
    assert (fleet.balancer.url, tools.text) == (f"http://127.0.0.1:{port}", "h2")


def handshake(port: int, certificate: Path, ciphers: str = "", version: ssl.TLSVersion | None = None) -> ssl.SSLSocket:
    """Connects with these ciphers, or this version, alone; offers HTTP/2."""
    context = ssl.create_default_context(cafile=certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if ciphers:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ciphers)
    if version:
        context.minimum_version = version
    plain = socket.create_connection(("127.0.0.4", port), timeout=30)
    try:
        return context.wrap_socket(plain, server_hostname="127.0.0.4")
    except BaseException:
        plain.close()
        raise


def test_https_is_modern_and_offers_http_2(tmp_path: Path, port: int, certificate: Path) -> None:
    inventory = with_tls(edge(port, "cpu = 1"), certificate, port + 1) + "hsts_days = 30\n"
    with OtherHost("h2").listening(SECOND, port), nginx_of(inventory, tmp_path), direct_session() as session:
        with handshake(port + 1, certificate, version=ssl.TLSVersion.TLSv1_3) as newest:
            assert (newest.version(), newest.selected_alpn_protocol()) == ("TLSv1.3", "h2")
        with handshake(port + 1, certificate, "ECDHE-ECDSA-AES128-GCM-SHA256") as older:
            assert older.version() == "TLSv1.2"
        for weak in ("ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "AES128-GCM-SHA256"):
            with pytest.raises(ssl.SSLError):
                handshake(port + 1, certificate, weak)
        answer = session.get(f"https://127.0.0.4:{port + 1}/livez", verify=str(certificate), timeout=30)
    assert answer.headers["Strict-Transport-Security"] == "max-age=2592000"


def test_browsers_are_told_to_remember_https_only_where_that_is_wished(
    tmp_path: Path, port: int, certificate: Path
) -> None:
    inventory = with_tls(edge(port, "cpu = 1"), certificate, port + 1)
    with OtherHost("h2").listening(SECOND, port), nginx_of(inventory, tmp_path), direct_session() as session:
        answer = session.get(f"https://127.0.0.4:{port + 1}/livez", verify=str(certificate), timeout=30)
    assert "Strict-Transport-Security" not in answer.headers


def test_without_the_redirect_only_the_host_itself_is_answered_in_plain(
    tmp_path: Path, port: int, certificate: Path
) -> None:
    inventory = with_tls(edge(port, "cpu = 1"), certificate, port + 1) + "redirect = false\n"
    with OtherHost("h2").listening(SECOND, port), nginx_of(inventory, tmp_path) as fleet:
        assert ask(fleet.balancer.url) == {"h2 200": 1}
        with pytest.raises(requests.ConnectionError):
            ask(f"http://127.0.0.4:{port}")


def test_only_an_edge_may_ask_the_instances_of_another_host_about_a_key_alone(tmp_path: Path, port: int) -> None:
    keys = '[keys]\nfile = "/etc/framefleet/keys"\nown = "/etc/framefleet/own.key"\n'
    inventory = f"{edge(port, 'cpu = 1')}{keys}[ports]\nfirst = {port + 1}\nlast = {port + 1}\n"
    with (
        OtherHost("cpu0").listening("127.0.0.1", port + 1) as instance,
        nginx_of(inventory, tmp_path, host="h2"),
    ):
        for source in ("127.0.0.1", "127.0.0.9"):  # of the edge, and of somebody else
            connection = HTTPConnection("127.0.0.1", port, timeout=30, source_address=(source, 0))
            connection.request("POST", "/v1/detect", headers={"X-Key-Check": "1"})
            assert connection.getresponse().status == 200
            connection.close()
    assert instance.checks == ["1", None]
