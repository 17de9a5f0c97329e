"""An instance that holds too much is drained and replaced; a peak is no reason."""

import fcntl
import json
import queue
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from service.safeguards.memory import LEAST_LIFE_S, LOOKS, MIB, TURN_S, Ceiling, DrainTurn, resident_bytes, shared_state
from tests.instance import ROOT, RunningInstance, listens, running_instance, start_instance, stop_instance, wait_until
from tests.service.faulty_engine import HOLD, LEAK, LET_GO
from tests.service.held import UNLIMITED, picture

LIMIT_S = 60
GOOD = 7
WORKER = "tests.service.workers.FaultyWorker"


NO_TURN = DrainTurn(None, "")


def ceiling(held_mb: list[int], limit_mb: int = 100, growth_mb: int = 0) -> Ceiling:
    """A ceiling that finds this much at its looks, the last one for ever."""
    held = lambda: (held_mb.pop(0) if len(held_mb) > 1 else held_mb[0]) * MIB  # noqa: E731
    return Ceiling(limit_mb, growth_mb, shared_state(), held)


def test_what_stays_over_the_ceiling_reaches_it() -> None:
    watched = ceiling([101])
    assert [watched.reached() for _ in range(LOOKS + 1)] == [False] * (LOOKS - 1) + [True, True]


def test_a_peak_does_not() -> None:
    watched = ceiling([101, 101, 100] * 5)
    assert not any(watched.reached() for _ in range(15))


def test_a_look_that_fails_is_not_the_last_one() -> None:
    def held() -> int:
        if failures:
            raise failures.pop()
        return 101 * MIB

    failures = [OSError("Too many open files")]
    watched, told = Ceiling(100, 0, shared_state(), held), queue.Queue[str]()
    watched.watch(lambda: told.put("reached"), NO_TURN, sleep=lambda s: None)
    assert told.get(timeout=LIMIT_S) == "reached"


def test_a_limit_of_next_to_nothing_is_one() -> None:
    watched = ceiling([300], limit_mb=1)
    assert (watched.limit_mb, watched.is_over()) == (1, True)
    watched = ceiling([300], limit_mb=0, growth_mb=1)
    watched.settle()
    assert watched.limit_mb == 301


def test_without_a_limit_nothing_does() -> None:
    watched = ceiling([10**6], limit_mb=0)
    assert not any(watched.reached() for _ in range(9))
    watched.settle()
    watched.watch(
        lambda: pytest.fail("there is nothing to reach"), NO_TURN, sleep=lambda s: pytest.fail("or to wait for")
    )
    assert not watched.was_reached()


def test_who_shares_the_flag_learns_of_it() -> None:
    state = shared_state()
    master = Ceiling(0, 50, state, lambda: 10 * MIB)
    worker = Ceiling(0, 50, state, lambda: held_mb.pop(0) * MIB)
    held_mb = [100, *[151] * (LOOKS + 1)]
    worker.settle()
    told: queue.Queue[str] = queue.Queue()
    assert not master.was_reached()
    slept: list[float] = []
    worker.watch(lambda: told.put("reached"), NO_TURN, sleep=slept.append)
    assert told.get(timeout=LIMIT_S) == "reached"
    assert master.was_reached() and master.limit_mb == 150
    assert slept[0] == LEAST_LIFE_S


@pytest.mark.parametrize(
    ("most_mb", "growth_mb", "limit_mb"),
    [(0, 50, 350), (400, 50, 350), (320, 50, 320), (320, 0, 320), (0, 0, 0)],
    ids=["growth", "growth is lower", "most is lower", "most alone", "neither"],
)
def test_growth_counts_from_what_is_held_at_the_start_and_the_lower_limit_wins(
    most_mb: int, growth_mb: int, limit_mb: int
) -> None:
    watched = ceiling([300], most_mb, growth_mb)
    watched.settle()
    assert watched.limit_mb == limit_mb


def test_an_instance_over_its_ceiling_waits_for_its_turn_and_no_longer(tmp_path: Path) -> None:
    watched, told = ceiling([101]), queue.Queue[str]()
    first, second = DrainTurn(tmp_path, "first"), DrainTurn(tmp_path, "second")
    assert first.take()
    slept = 0

    def sleep(seconds: float) -> None:
        nonlocal slept
        slept += 1
        if slept == 10:
            assert told.empty() and not watched.was_reached()
            first.listen()

    watched.watch(lambda: told.put("reached"), second, sleep)
    assert told.get(timeout=LIMIT_S) == "reached"
    assert not first.take()


def test_who_has_been_alone_for_long_waits_for_none_of_those_that_were_there(tmp_path: Path) -> None:
    now, told = 1000.0, queue.Queue[float]()
    for name in ("first", "second"):
        one = DrainTurn(tmp_path, name)
        one.listen()
        one.leave()

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    alone_s = int(TURN_S)
    watched = ceiling([*[99] * alone_s, 101])
    watched.watch(lambda: told.put(now), DrainTurn(tmp_path, "second", lambda: now), sleep)
    assert told.get(timeout=LIMIT_S) - 1000.0 <= LEAST_LIFE_S + alone_s + LOOKS


def test_an_instance_lives_longer_than_supervisor_takes_a_start_to_last() -> None:
    found = re.search(r"^startsecs=(\d+)$", (ROOT / "deploy/supervisor/instance.conf.j2").read_text(), re.M)
    assert found and int(found[1]) < LEAST_LIFE_S


def test_resident_memory_is_what_was_touched() -> None:
    before = resident_bytes()
    held = b"x" * (64 * MIB)
    assert 60 * MIB < resident_bytes() - before < 70 * MIB
    del held


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_an_instance_over_its_ceiling_answers_what_is_in_flight_and_ends_with_a_code_of_its_own(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    settings = {**UNLIMITED, "max_memory_mb": 450, "cache": tmp_path, "quarantine": tmp_path / "quarantine"}
    port = free_port()
    with (
        running_instance(port, "-", tmp_path / "log", WORKER, **settings) as instance,
        ThreadPoolExecutor(1) as pool,
    ):
        try:
            assert requests.post(f"{instance.url}/predict", picture(GOOD), timeout=LIMIT_S).status_code == 200
            files = [("image", picture(LEAK)), ("image", picture(HOLD))]
            assert is_locked(tmp_path / "quarantine" / "tested.listening")
            sent = pool.submit(requests.post, f"{instance.url}/v1/detect", files=files, timeout=LIMIT_S)
            wait_until("the port is closed", lambda: not listens(port))
            wait_until("the others know", lambda: not is_locked(tmp_path / "quarantine" / "tested.listening"))
        finally:
            (tmp_path / LET_GO).touch()
        answer = sent.result(LIMIT_S)
        assert (answer.status_code, len(answer.json()["results"])) == (200, 2)
        assert instance.process.wait(LIMIT_S) == 72
    log = instance.log.read_text()
    events = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [event["exit_code"] for event in events if event["event"] == "memory_ceiling"] == [72]
    assert "pictures_blamed" not in [event["event"] for event in events]
    assert "Traceback" not in log


def test_a_ceiling_below_what_an_instance_needs_is_one_line_at_its_start(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    instance = start_instance(free_port(), "simulated:", tmp_path / "log", max_memory_mb=20)
    try:
        assert instance.process.wait(LIMIT_S) == 3
    finally:
        stop_instance(instance)
    (line,) = [line for line in instance.log.read_text().splitlines() if line.startswith("cannot start: ")]
    assert "FRAMEFLEET_MAX_MEMORY_MB" in line and line.endswith("raise it")


class Pair:
    """Two instances that share a folder, started again when they end, as supervisor does."""

    def __init__(self, ports: list[int], folder: Path, **settings: object) -> None:
        self._folder, self._settings = folder, settings
        self.ended: list[str] = []
        self.running = {f"cpu{number}": self._start(f"cpu{number}", port) for number, port in enumerate(ports)}
        self._ports = dict(zip(self.running, ports, strict=True))

    def _start(self, name: str, port: int) -> RunningInstance:
        return start_instance(port, "-", self._folder / name, WORKER, instance=name, **self._settings)

    def tend(self) -> None:
        """Starts what has ended."""
        for name, instance in self.running.items():
            if (code := instance.process.poll()) is not None:
                assert code == 72, instance.log.read_text()
                self.ended.append(name)
                self.running[name] = self._start(name, self._ports[name])

    def ask(self) -> int:
        """Asks whoever answers, as the balancer does; 0 if nobody is there."""
        for instance in self.running.values():
            with suppress(requests.ConnectionError):
                return requests.post(f"{instance.url}/predict", picture(GOOD), timeout=LIMIT_S).status_code
        return 0


def test_of_two_instances_over_their_ceilings_one_drains_at_a_time_and_no_request_is_lost(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    folder = tmp_path / "shared"
    pair = Pair([free_port(), free_port()], tmp_path, memory_growth_mb=350, quarantine=folder)
    try:
        for instance in pair.running.values():
            instance.wait_until_ready()
        for instance in pair.running.values():
            assert requests.post(f"{instance.url}/predict", picture(LEAK), timeout=LIMIT_S).status_code == 200
        answers = []

        def both_replaced() -> bool:
            answers.append(pair.ask())
            pair.tend()
            return len(pair.ended) == 2

        wait_until("both are replaced", both_replaced)
        assert sorted(pair.ended) == ["cpu0", "cpu1"]
        assert set(answers) == {200}
        pair.running[pair.ended[-1]].wait_until_ready()
        assert (folder / "draining").read_text() == "", "the next one may drain at once"
    finally:
        for instance in pair.running.values():
            stop_instance(instance)
