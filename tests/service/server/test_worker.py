"""The worker's own steps, each without a process: what it accepts, answers, closes and says of its end."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger
from gunicorn.http.errors import InvalidHeaderName, LimitRequestLine
from gunicorn.workers.gthread import ThreadWorker

from service.server.allow import AllowedOnly, parse_allow
from service.server.worker import DetectorArbiter, DetectorWorker

READ_BYTES = 65536


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[DetectorWorker]:
    monkeypatch.setenv("FRAMEFLEET_INSTANCE", "tested")
    monkeypatch.setenv("FRAMEFLEET_MODEL", "simulated:")
    config = Config()
    made = DetectorWorker(1, os.getpid(), [], None, 30, config, Logger(config))
    made.pid = 7
    yield made
    made.tmp.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


class Listener:
    """The part of gunicorn's listener that a worker closes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock: socket.socket | None = sock

    def close(self) -> None:
        self.sock = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


def test_it_opens_the_engine_that_the_settings_name(worker: DetectorWorker) -> None:
    with worker.open_engine() as engine:
        assert engine.info.kind == "simulated"


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (LimitRequestLine(9000, 8190), 414, "its first line is over 4094 bytes"),
        (InvalidHeaderName("sec<ret"), 400, "Invalid HTTP header name"),
        (RuntimeError("inside"), 500, ""),
    ],
    ids=["long line", "header name", "a fault of ours"],
)
def test_what_never_reached_the_application_is_answered_as_a_problem(
    worker: DetectorWorker, error: Exception, status: int, words: str
) -> None:
    ours, client = socket.socketpair()
    with ours, client:
        worker.handle_error(None, ours, ("127.0.0.1", 1), error)
        head, _, body = client.recv(READ_BYTES).partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % status) and b"X-Instance: tested" in head
    assert b"Content-Length: %d" % len(body) in head
    assert problem["status"] == status and words in problem["detail"]
    assert "sec<ret" not in problem["detail"] and "inside" not in problem["detail"]


def test_where_it_can_accept_no_more_it_drains(
    worker: DetectorWorker, listener: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    worker.accept(listener)  # nobody waits
    assert worker.alive
    listener.close()
    worker.accept(listener)
    assert not worker.alive
    assert "cannot_accept" in "".join(capsys.readouterr())


def test_off_for_good_closes_the_port_after_everybody_who_waits_was_taken(
    worker: DetectorWorker, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Any] = []
    monkeypatch.setattr(worker, "enqueue_req", taken.append)
    held = Listener(listener)
    worker.sockets = [held]
    worker.set_accept_enabled(False)
    assert held.sock is listener  # only a pause: the worker lives
    with socket.create_connection(listener.getsockname()), socket.create_connection(listener.getsockname()):
        worker.alive = False
        worker.set_accept_enabled(False)
        assert (len(taken), held.sock) == (2, None)
        for connection in taken:
            connection.close()


def test_strangers_are_closed_and_the_next_who_may_is_taken(listener: socket.socket) -> None:
    allowed = AllowedOnly(listener, parse_allow("127.0.0.5"))
    address = listener.getsockname()
    assert allowed.getsockname() == address
    with (
        socket.create_connection(address, source_address=("127.0.0.6", 0)) as stranger,
        socket.create_connection(address, source_address=("127.0.0.5", 0)) as known,
    ):
        connection, peer = allowed.accept()
        with connection:
            assert peer == known.getsockname()
        assert stranger.recv(1) == b""
        with pytest.raises(BlockingIOError):
            allowed.accept()


def expect(worker: DetectorWorker, **of: Callable[[], bool]) -> None:
    worker.watchdog = SimpleNamespace(hung=of.get("hung", lambda: False))  # type: ignore[assignment]
    reached = of.get("reached", lambda: False)
    worker.ceiling = SimpleNamespace(was_reached=reached, limit_mb=9)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("of", "stop_asked", "exit_code", "blamed"),
    [
        ({}, True, None, []),
        ({}, False, 70, [False]),
        ({"hung": lambda: True}, False, 71, [True]),
        ({"hung": lambda: True}, True, 71, [True]),
        ({"reached": lambda: True}, False, 72, []),
        ({"reached": lambda: True, "hung": lambda: True}, False, 71, [True]),
    ],
    ids=["stopped", "died", "hung", "hung while it stops", "memory", "hung while it drains"],
)
def test_an_exit_has_its_code_and_blames_whom_it_should(
    worker: DetectorWorker,
    of: dict[str, Callable[[], bool]],
    stop_asked: bool,
    exit_code: int | None,
    blamed: list[bool],
) -> None:
    calls: list[bool] = []

    def blame(*, engine_alone: bool) -> int:
        calls.append(engine_alone)
        raise OSError("a full disk keeps no instance from starting again")

    expect(worker, **of)
    worker.quarantine = SimpleNamespace(blame=blame)  # type: ignore[assignment]
    if exit_code is None:
        worker.explain_exit(stop_asked=stop_asked)
    else:
        with pytest.raises(HaltServer) as halt:
            worker.explain_exit(stop_asked=stop_asked)
        assert halt.value.exit_status == exit_code
    assert calls == blamed


def test_a_master_that_stops_remembers_it_and_ends_with_its_workers_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(arbiter: DetectorArbiter, graceful: bool) -> None:
        assert arbiter.stop_asked
        raise HaltServer("hung", 71)

    monkeypatch.setattr(Arbiter, "stop", stop)
    arbiter = DetectorArbiter.__new__(DetectorArbiter)
    assert not arbiter.stop_asked
    with pytest.raises(SystemExit) as end:
        arbiter.stop()
    assert end.value.code == 71


def test_gunicorn_calls_what_is_overridden() -> None:
    # Every version that pyproject.toml allows has these; one that drops a name would leave ours uncalled.
    for name in ("init_process", "load_wsgi", "run", "accept", "set_accept_enabled", "handle_error"):
        assert callable(getattr(ThreadWorker, name)) and name in vars(DetectorWorker)
    assert callable(Arbiter.stop)
