"""Requests that find no instance wait for one, are relayed once, and cost the room little."""

import asyncio
import fcntl
import socket
import struct
import termios
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.guard.waiting_room import Address, Bounds, WaitingRoom, by_load, patience_s
from deploy.machine import run
from framefleet.machine.ports import reserved_ports
from tests.e2e.fleet import wait_until

PATIENT = b"POST / HTTP/1.1\r\nX-Wait-Ms: 20000\r\n\r\n"
HASTY = b"POST / HTTP/1.1\r\nX-Wait-Ms: 200\r\n\r\n"
LIMIT_S = 20
Serve = Callable[[socket.socket], None]
USUAL = Bounds()


@contextmanager
def room(path: Path, servers: Sequence[Address], bounds: Bounds = USUAL) -> Iterator[Callable[[], socket.socket]]:
    """A room in a thread of its own; gives what connects to it, as nginx does."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    with run.listening_at(path) as listening:
        serving = asyncio.run_coroutine_threadsafe(WaitingRoom(lambda: servers, bounds).serve(listening), loop)

        def connect() -> socket.socket:
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(LIMIT_S)
            client.connect(str(path))
            return client

        async def quiet() -> None:
            while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.gather(*tasks, return_exceptions=True)

        try:
            yield connect
        finally:
            serving.cancel()
            asyncio.run_coroutine_threadsafe(quiet(), loop).result(LIMIT_S)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


@contextmanager
def instance(port: int, serve: Serve, taken: list[int] | None = None) -> Iterator[None]:
    """A server that hands every connection to `serve` in a thread, and notes its port for each."""
    with ThreadPoolExecutor(32) as pool, socket.create_server(("127.0.0.1", port)) as listening:

        def one(connection: socket.socket) -> None:
            with connection:
                connection.settimeout(LIMIT_S)
                serve(connection)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                if taken is not None:
                    taken.append(port)
                pool.submit(one, connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture
def port() -> Iterator[int]:
    with reserved_ports(2) as first:
        yield first


def everything(connection: socket.socket) -> bytes:
    """Reads until the other side has ended; a reset is an end too."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionError:
        pass
    return found


def exactly(connection: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        piece = connection.recv(65536)
        assert piece, f"ended after {len(found)} of {size} bytes"
        found += piece
    return bytes(found)


def send_in_turn(clients: Sequence[socket.socket], requests: Sequence[bytes]) -> None:
    """Sends each request once the room has read the one before, so that they come in this order."""
    for client, request in zip(clients, requests, strict=True):
        client.sendall(request)
        wait_until("the room has read it", lambda client=client: not unread_bytes(client))


def unread_bytes(connection: socket.socket) -> int:
    """How much of what was sent the other side of a Unix socket has not read yet."""
    size: int = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]
    return size


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ("X-Wait-Ms: 5000", 5),
        ("X-Wait-Ms: 5000\r\nX-Timeout-Ms: 1500.5", 1.5005),
        ("x-timeout-ms:700 \r\nX-Wait-Ms: 5000", 0.7),
        ("X-Wait-Ms: 5000\r\nX-Timeout-Ms: 60000", 5),
        ("X-Wait-Ms: 5000\r\nX-Timeout-Ms: soon", 5),
        ("X-Timeout-Ms: 1500", 0),
        ("X-Other: X-Wait-Ms: 5000", 0),
        ("X-Real-IP: 10.0.0.1\r\n\r\n\r\nX-Wait-Ms: 5000", 0),
    ],
)
def test_a_request_waits_as_long_as_nginx_and_its_own_deadline_allow(headers: str, seconds: float) -> None:
    assert patience_s(f"POST / HTTP/1.1\r\n{headers}\r\n\r\n".encode()) == seconds
    body = b"x\r\nX-Wait-Ms: 9000000\r\nX-Timeout-Ms: 1\r\n"
    assert patience_s(f"POST / HTTP/1.1\r\n{headers}\r\n\r\n".encode() + body) == seconds


def test_the_least_busy_instance_comes_first_and_a_full_one_not_at_all() -> None:
    one, two, three = (("127.0.0.1", port) for port in (1, 2, 3))
    assert by_load([one, two, three], Counter({one: 4, two: 1}), each=4) == [three, two]


def test_a_request_that_waits_and_its_answer_arrive_whole_once_an_instance_listens(tmp_path: Path, port: int) -> None:
    body = bytes(range(256)) * 16384

    def answer(connection: socket.socket) -> None:
        connection.sendall(exactly(connection, len(PATIENT + body))[::-1])

    with room(tmp_path / "room", [("127.0.0.1", port)]) as connect, connect() as client, connect() as other:
        sending = threading.Thread(target=client.sendall, args=(PATIENT + body,))
        sending.start()
        # Came later, and gave up before anybody listened.
        other.sendall(HASTY)
        assert everything(other) == b""
        with instance(port, answer):
            assert everything(client) == (PATIENT + body)[::-1]
        sending.join()


def test_who_may_not_wait_or_sends_no_head_is_let_go(tmp_path: Path, port: int) -> None:
    with room(tmp_path / "room", [("127.0.0.1", port)]) as connect:
        for sent in (b"GET /readyz HTTP/1.1\r\n\r\n", b"x" * 100_000):
            with connect() as client:
                client.sendall(sent)
                assert everything(client) == b""


def test_a_request_whose_instance_dies_is_relayed_to_no_other(tmp_path: Path, port: int) -> None:
    taken: list[int] = []
    servers = [("127.0.0.1", port), ("127.0.0.1", port + 1)]

    def die(connection: socket.socket) -> None:
        exactly(connection, len(PATIENT))

    path = tmp_path / "room"
    with instance(port, die, taken), instance(port + 1, die, taken), room(path, servers) as connect, connect() as one:
        one.sendall(PATIENT)
        assert everything(one) == b""
    assert taken == [port]


def test_an_instance_gets_so_many_at_once_and_the_others_wait_for_a_place(tmp_path: Path, port: int) -> None:
    taken: list[int] = []
    places = [threading.Event() for _ in range(3)]

    def answer(connection: socket.socket) -> None:
        exactly(connection, len(PATIENT))
        places[len(taken) - 1].wait(LIMIT_S)
        connection.sendall(b"%d" % len(taken))

    with instance(port, answer, taken), room(tmp_path / "room", [("127.0.0.1", port)], Bounds(each=1)) as connect:
        clients = [connect() for _ in range(3)]
        for client in clients:
            client.sendall(PATIENT)
        seen = []
        for place, client in zip(places, clients, strict=True):
            place.set()
            with client:
                seen.append(everything(client))
    # Each was the last that had come when it was answered.
    assert seen == [b"1", b"2", b"3"]


def test_more_than_the_room_holds_are_turned_away_at_once(tmp_path: Path, port: int) -> None:
    with room(tmp_path / "room", [("127.0.0.1", port)], Bounds(held=2)) as connect, connect() as one, connect() as two:
        for client in (one, two):
            client.sendall(PATIENT)
        with connect() as third:
            third.sendall(PATIENT)
            assert everything(third) == b""
        for client in (one, two):
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(1)


def of(client: str) -> bytes:
    return PATIENT.replace(b"\r\n\r\n", f"\r\nX-Real-IP: {client}\r\n\r\n".encode())


def test_who_hangs_up_leaves_its_place_to_another(tmp_path: Path, port: int) -> None:
    with room(tmp_path / "room", [("127.0.0.1", port)], Bounds(held=1)) as connect:
        with connect() as gone:
            gone.sendall(PATIENT + bytes(1000))
            with connect() as second:
                second.sendall(PATIENT)
                assert everything(second) == b""

        def is_taken() -> bool:
            with connect() as client:
                client.sendall(PATIENT)
                client.settimeout(0.2)
                try:
                    return client.recv(1) != b""
                except TimeoutError:
                    return True

        wait_until("its place is free", is_taken)


def test_a_client_with_many_requests_has_others_wait_for_one_of_them_at_most(tmp_path: Path, port: int) -> None:
    order: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        order.append(exactly(connection, len(of("10.0.0.1")))[-12:])
        connection.sendall(b"200")

    with room(tmp_path / "room", [("127.0.0.1", port)], Bounds(each=1)) as connect:
        clients = [connect() for _ in range(6)]
        send_in_turn(clients, [of("10.0.0.1")] * 5 + [of("10.0.0.2")])
        with instance(port, answer):
            assert [everything(client) for client in clients] == [b"200"] * 6
        for client in clients:
            client.close()
    assert b"10.0.0.2" in order[0] + order[1]


def test_in_a_full_room_who_has_the_most_places_makes_way(tmp_path: Path, port: int) -> None:
    with room(tmp_path / "room", [("127.0.0.1", port)], Bounds(held=3)) as connect:
        clients = [connect() for _ in range(4)]
        send_in_turn(clients, [of("10.0.0.1")] * 3 + [of("10.0.0.2")])
        assert everything(clients[2]) == b""
        for client in clients[:2] + clients[3:]:
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(1)
        for client in clients:
            client.close()


def test_an_answer_to_a_body_that_is_not_read_gets_through(tmp_path: Path, port: int) -> None:
    def refuse(connection: socket.socket) -> None:
        exactly(connection, len(PATIENT))
        connection.sendall(b"413")
        connection.shutdown(socket.SHUT_WR)
        everything(connection)

    with instance(port, refuse), room(tmp_path / "room", [("127.0.0.1", port)]) as connect, connect() as client:
        client.sendall(PATIENT + bytes(65536))
        assert everything(client) == b"413"


def test_an_instance_learns_that_the_client_has_gone(tmp_path: Path, port: int) -> None:
    taken, gone = threading.Event(), threading.Event()

    def wait_for_end(connection: socket.socket) -> None:
        taken.set()
        everything(connection)
        gone.set()

    with instance(port, wait_for_end), room(tmp_path / "room", [("127.0.0.1", port)]) as connect:
        with connect() as client:
            client.sendall(PATIENT)
            assert taken.wait(LIMIT_S)
        assert gone.wait(LIMIT_S)


def test_a_socket_that_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "room"
    run.listening_at(path).close()
    with run.listening_at(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert [file.name for file in tmp_path.iterdir()] == ["room"]
