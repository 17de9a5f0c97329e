import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from deploy.checks.health import Endpoint, Readiness, endpoints, probe, wait_ready
from framefleet.http.session import open_session
from tests.deploy.fleets import fleet_of

READY = {"status": "ready", "instance": "cpu0", "release": "r7"}


@contextmanager
def server(status: int, body: str, delay: threading.Event | None = None) -> Iterator[str]:
    """A real HTTP server that gives one answer to everything, after `delay` is set."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if delay:
                delay.wait(10)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Not of interest."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http_server.server_port}"
        finally:
            if delay:
                delay.set()
            http_server.shutdown()
            thread.join()


def ask(url: str, instance: str = "cpu0", timeout_s: float = 2) -> Readiness:
    with open_session() as session:
        return probe(session, Endpoint("cpu0", url, instance), timeout_s)


@pytest.mark.parametrize("instance", ["cpu0", ""], ids=["itself", "any instance"])
def test_a_ready_instance_is_ready(instance: str) -> None:
    with server(200, json.dumps(READY)) as url:
        assert ask(url, instance) == Readiness("cpu0", url, True, "r7", "")


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        pytest.param(502, json.dumps(READY), "answers 502", id="no instance behind nginx"),
        pytest.param(200, json.dumps({**READY, "instance": "cpu1"}), "is answered by cpu1", id="wrong instance"),
        pytest.param(
            200, "<html>", "answers 200, but not as an instance does: another server has this port", id="a stranger"
        ),
        pytest.param(
            200, "[]", "answers 200, but not as an instance does: another server has this port", id="other JSON"
        ),
    ],
)
def test_any_other_answer_is_a_reason(status: int, body: str, reason: str) -> None:
    with server(status, body) as url:
        assert ask(url) == Readiness("cpu0", url, False, "", reason)


def test_a_closed_port_is_a_reason(free_port: Callable[[], int]) -> None:
    assert ask(f"http://127.0.0.1:{free_port()}").reason == "refuses connections"


def test_silence_is_a_reason() -> None:
    with server(200, json.dumps(READY), delay=threading.Event()) as url:
        assert ask(url, timeout_s=0.2).reason == "no answer within 0.2 s"


def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with server(200, json.dumps(READY)) as url:
        assert ask(url).ready


def test_every_instance_and_then_the_balancer_is_asked() -> None:
    assert endpoints(fleet_of(2)) == (
        Endpoint("cpu0", "http://127.0.0.1:8101", "cpu0"),
        Endpoint("cpu1", "http://127.0.0.1:8102", "cpu1"),
        Endpoint("balancer", "http://127.0.0.1:8080", ""),
    )


class Clock:
    """Time that passes only in `sleep`."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def wait(ready_at: dict[str, float], timeout_s: float) -> tuple[list[tuple[str, float]], tuple[Readiness, ...], int]:
    clock, shown, watched = Clock(), [], []

    def answer(endpoint: Endpoint) -> Readiness:
        ready = clock.now - 100 >= ready_at[endpoint.name]
        return Readiness(endpoint.name, "", ready, "", "" if ready else "refuses connections")

    late = wait_ready(
        tuple(Endpoint(name, "", name) for name in ready_at),
        answer,
        lambda: watched.append(clock.now),
        lambda readiness, seconds: shown.append((readiness.name, seconds)),
        timeout_s=timeout_s,
        clock=clock,
        sleep=clock.sleep,
        poll_s=1.0,
    )
    return shown, late, len(watched)


def test_waiting_ends_when_all_are_ready_and_tells_how_long_each_took() -> None:
    shown, late, watched = wait({"cpu0": 2, "cpu1": 0}, timeout_s=10)
    assert (shown, late, watched) == ([("cpu1", 0.0), ("cpu0", 2.0)], (), 2)


def test_waiting_ends_at_its_limit_and_tells_who_is_missing() -> None:
    shown, late, _ = wait({"cpu0": 99, "cpu1": 0}, timeout_s=5)
    assert shown == [("cpu1", 0.0)]
    assert [(readiness.name, readiness.reason) for readiness in late] == [("cpu0", "refuses connections")]


def test_nothing_to_wait_for_is_no_wait() -> None:
    assert wait({}, timeout_s=5) == ([], (), 0)
