"""Why an address cannot be listened on is told apart: taken, foreign, forbidden, unknown."""

import multiprocessing
import os
import socket
from collections.abc import Callable

import pytest

from framefleet.machine.listening import Refusal, resolve, try_to_listen

NOBODY = 65534
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def has_ipv6() -> bool:
    return try_to_listen("::1", 0) is None


def reason(host: str, port: int) -> str:
    refusal = try_to_listen(host, port)
    return refusal.reason if refusal else ""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_what_is_free_is_no_problem(host: str, free_port: Callable[[], int]) -> None:
    assert try_to_listen(host, free_port()) is None


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::1", "::"])
def test_ipv6_addresses_are_tried_as_such(host: str, free_port: Callable[[], int]) -> None:
    assert try_to_listen(host, free_port()) is None
    with socket.socket(socket.AF_INET6) as other:
        other.bind(("::1", 0))
        other.listen()
        assert reason(host, other.getsockname()[1]) == "taken"


def test_a_port_that_another_has_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert reason("127.0.0.1", port) == reason("0.0.0.0", port) == "taken"


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_of_another_machine_is_foreign(host: str, free_port: Callable[[], int]) -> None:
    refusal = try_to_listen(host, free_port())
    assert refusal
    assert refusal.reason == "foreign"
    assert host in refusal.what


@pytest.mark.parametrize("host", ["nowhere.invalid", "x" * 64 + ".invalid"])
def test_a_name_that_leads_nowhere_is_unknown(host: str) -> None:
    refusal = try_to_listen(host, 8101)
    assert refusal
    assert refusal.reason == "unknown"
    assert host in refusal.what


def _as_nobody(host: str, port: int, answer: "multiprocessing.Queue[Refusal | None]") -> None:
    os.setuid(NOBODY)
    answer.put(try_to_listen(host, port))


@root
def test_a_port_for_root_alone_is_forbidden() -> None:
    context = multiprocessing.get_context("fork")
    answer: multiprocessing.Queue[Refusal | None] = context.Queue()
    child = context.Process(target=_as_nobody, args=("127.0.0.1", 80, answer))
    child.start()
    refusal = answer.get(timeout=60)
    child.join()
    assert refusal == Refusal(
        "forbidden",
        "only root may listen on port 80",
        "choose a port from 1024 on, or `sudo sysctl net.ipv4.ip_unprivileged_port_start=80`",
    )


def test_of_a_name_with_both_the_ipv4_address_is_taken() -> None:
    assert resolve("localhost", 1) == "127.0.0.1"
    assert resolve("::1", 1) == "::1"
