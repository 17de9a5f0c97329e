"""A client that hangs up is noticed on its own connection, by a real instance, before its frame is inferred."""

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from service.admission.client_gone import client_gone
from tests.instance import wait_until
from tests.service.held import LIMIT_S, held_instance, picture


def test_a_frame_of_a_client_that_hung_up_is_dropped(free_port: Callable[[], int], tmp_path: Path) -> None:
    port, body = free_port(), picture(0)
    with held_instance(port, tmp_path) as held:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", port)) as impatient:
            impatient.sendall(head + body)
            metrics = f"{held.instance.url}/metrics"
            wait_until("it waits", lambda: "framefleet_queue_depth 1.0" in requests.get(metrics, timeout=LIMIT_S).text)
        held.let_go()
        held.wait_for_places(0)
        assert held.first.result(LIMIT_S).status_code == 200
        counts = held.status()["counts"]
    assert (counts["frames"], counts["expired"]) == (1, 1)


def test_a_client_that_is_there_is_not_gone_even_when_it_has_sent_more() -> None:
    here, there = socket.socketpair()
    with here, there:
        gone = client_gone({"gunicorn.socket": here})
        assert not gone()
        there.sendall(b"GET /next")
        assert not gone()
        assert here.recv(9) == b"GET /next", "looking must not read"
        there.close()
        assert gone()


@contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = socket.create_connection(server.getsockname())
        here, _ = server.accept()
    with here, there:
        yield here, there


def test_over_tcp_who_closes_or_resets_is_gone() -> None:
    for reset in (False, True):
        with tcp_pair() as (here, there):
            gone = client_gone({"gunicorn.socket": here})
            assert not gone()
            there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))
            there.close()
            wait_until("it is noticed", gone)


def test_over_tcp_who_has_sent_more_is_there_even_when_it_has_closed_after_that() -> None:
    with tcp_pair() as (here, there):
        gone = client_gone({"gunicorn.socket": here})
        there.sendall(b"GET /next")
        there.close()
        wait_until("all has come", lambda: here.recv(9, socket.MSG_PEEK) == b"GET /next")
        assert not gone()
        assert here.recv(9) == b"GET /next"
        wait_until("the end is noticed", gone)


def test_without_a_socket_nobody_is_gone() -> None:
    assert not client_gone({})()
