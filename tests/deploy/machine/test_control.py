"""Something else than supervisord listens on its socket, such as what somebody else runs as the service's user."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.errors import ControlError
from deploy.machine.control import Control
from deploy.machine.machine import Machine
from deploy.paths import Paths, local_paths
from deploy.rollout.stopping import stop

XML = "<?xml version='1.0'?><methodResponse><params><param><value>{}</value></param></params></methodResponse>"
ANSWERS = {"no XML": "hello", "a number": XML.format("<int>7</int>"), "nothing": "", "names": XML.format("RUNNING")}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = local_paths(tmp_path)
    for folder in made.folders():
        folder.mkdir(parents=True)
    return made


@contextmanager
def answering(place: Path, text: str) -> Iterator[None]:
    """Answers whatever it is asked with the same."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                if client.recv(65536):
                    client.sendall((head + text).encode())

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        server.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in ANSWERS.items()])
def test_what_answers_in_supervisords_place_is_told_and_cleared_away(paths: Paths, text: str) -> None:
    said: list[str] = []
    with answering(paths.supervisor_socket, text):
        for ask in (Control.running, Control.states, Control.reread):
            with pytest.raises(ControlError, match="supervisord does not answer"), Control(paths, 5.0) as control:
                ask(control)
        stop(paths, Machine(said.append))
    assert [line.partition(" (")[0] for line in said] == ["supervisord does not answer"]
    assert not paths.supervisor_socket.exists()
