"""A silent instance is killed while its requests can still be run elsewhere; a slow one is left alone."""

import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from deploy.fleet import Instance
from deploy.guard.prober import Answer, Patience, Prober, Sighting, ask

PATIENCE = Patience(stopped_s=1, idle_s=2, busy_s=20, alone_s=30, late_s=4)
STOPPED = Sighting("silent", stopped=True)


class Rounds:
    """A prober that is shown one round a second."""

    def __init__(self) -> None:
        self.prober = Prober(PATIENCE)
        self.now = 0.0

    def show(self, other: Answer = "answers", ticks: int = 5, cpu0: Answer = "silent") -> list[str]:
        began, self.now = self.now, self.now + 1
        sightings = {"cpu0": Sighting(cpu0, ticks), "cpu1": Sighting(other)}
        return [verdict.name for verdict in self.prober.decide(sightings, began, self.now)]


def test_an_instance_that_uses_no_cpu_is_killed_after_two_seconds_and_judged_anew() -> None:
    rounds = Rounds()
    assert [rounds.show() for _ in range(4)] == [[], ["cpu0"], [], ["cpu0"]]


def test_an_answer_or_a_refused_connection_ends_a_silence() -> None:
    for answer in ("answers", "refuses"):
        rounds = Rounds()
        assert [rounds.show(cpu0=state) for state in ("silent", answer, "silent", answer)] == [[], [], [], []]


def test_a_busy_instance_gets_more_time() -> None:
    rounds = Rounds()
    shown = [rounds.show(ticks=ticks) for ticks in range(20)]
    assert (shown[:19], shown[19]) == ([[]] * 19, ["cpu0"])


@pytest.mark.parametrize("other", ["silent", "refuses"])
def test_where_no_other_answers_there_is_no_hurry_with_a_busy_one(other: Answer) -> None:
    rounds = Rounds()
    shown = [rounds.show(other, ticks=ticks) for ticks in range(30)]
    assert "cpu0" not in [name for names in shown[:29] for name in names]
    assert "cpu0" in shown[29]


def test_a_starved_one_uses_no_cpu_and_is_busy_all_the_same() -> None:
    prober = Prober(PATIENCE)
    shown = [prober.decide({"cpu0": Sighting("silent", starved=True)}, now, now + 1) for now in range(30)]
    assert shown[:29] == [()] * 29 and shown[29] != ()


def test_a_lone_one_that_is_idle_is_killed_as_one_of_many_is() -> None:
    rounds = Rounds()
    assert [rounds.show("refuses") for _ in range(2)] == [[], ["cpu0"]]


def signals(prober: Prober, now: float, **sightings: Sighting) -> dict[str, str]:
    return {verdict.name: verdict.signal for verdict in prober.decide(sightings, now, now + 1)}


@pytest.mark.parametrize("others", [STOPPED, Sighting("refuses"), Sighting("answers")])
def test_what_is_stopped_is_told_to_go_on_and_killed_only_if_it_does_not(others: Sighting) -> None:
    prober = Prober(PATIENCE)
    assert signals(prober, 0, cpu0=STOPPED, cpu1=others)["cpu0"] == "CONT"
    assert signals(prober, 1.5, cpu0=STOPPED, cpu1=Sighting("refuses")) == {"cpu0": "KILL"}
    assert signals(prober, 3, cpu0=STOPPED) == {"cpu0": "CONT"}


def test_a_prober_that_was_stopped_itself_judges_nobody() -> None:
    rounds = Rounds()
    rounds.show()
    rounds.now += 100
    assert [rounds.show(), rounds.show()] == [[], ["cpu0"]]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def instance_at(port: int) -> Instance:
    return Instance("cpu0", "127.0.0.1", port, {})


def test_a_port_that_accepts_and_says_nothing_is_silent(listener: socket.socket) -> None:
    assert ask(instance_at(listener.getsockname()[1]), timeout_s=0.2) == "silent"


def test_a_port_nobody_listens_on_refuses(free_port: Callable[[], int]) -> None:
    assert ask(instance_at(free_port())) == "refuses"


def test_any_http_answer_is_an_answer() -> None:
    class Sick(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(500)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Sick) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        assert ask(instance_at(server.server_port)) == "answers"
        thread.join(30)
