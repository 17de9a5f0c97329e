"""The hostile neighbour comes from another address, is as patient as it says, and tells how its requests ended."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from chaos.attack import SOURCE, Assault, assaults, attacked, perform
from service.settings import Settings
from tests.instance import wait_until

REFUSED = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class Server:
    """Answers every request with `answer`, or with nothing, and notes who came."""

    listener: socket.socket
    answer: bytes = REFUSED
    clients: set[str] = field(default_factory=set)
    open: list[socket.socket] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, (address, _) = self.listener.accept()
                self.clients.add(address)
                self.open.append(connection)
                with suppress(OSError):
                    connection.recv(65536)
                    connection.sendall(self.answer)


@pytest.fixture
def server() -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Server(listener)
        thread = threading.Thread(target=running.serve)
        thread.start()
        try:
            yield running
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in running.open:
                connection.close()


def test_an_answer_is_told_by_its_status_and_asked_from_another_address(server: Server) -> None:
    assert perform(Assault("x", b"GET / HTTP/1.1\r\n\r\n"), server.port) == "429"
    assert server.clients == {SOURCE} != {"127.0.0.1"}


def test_who_is_not_answered_hangs_up(server: Server) -> None:
    server.answer = b""
    assert perform(Assault("x", b"GET / HTTP/1.1\r\n\r\n", patience_s=0.05), server.port) == "hung up"


def test_every_request_is_whole_and_within_the_limit_on_bodies() -> None:
    for assault in assaults():
        head, _, body = assault.request.partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n"), assault.name
        assert len(body) < Settings().max_body_bytes, assault.name


def test_an_attack_goes_on_until_its_block_ends_and_then_counts(server: Server) -> None:
    with attacked(server.port, seed=1, clients=2) as ended:
        wait_until("both attack", lambda: len(server.open) >= 2)
        assert not ended
    # A server that answers before it has read all resets the connection, now and then before the answer is there.
    assert set(ended) <= {"429", "no answer", "hung up"}
    assert server.clients == {SOURCE}
