"""Bodies on a real fleet with keys: none reaches the disk before its key was looked at, and few of one address do."""

import base64
import json
import os
import select
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path

import pytest

from deploy.allowance import SHARES
from deploy.machine.processes import serving_workers
from service.keys import add_key
from tests.e2e.fleet import LocalFleet, direct_session, local_fleet, ready, wait_until

pytestmark = pytest.mark.e2e
CAMERA, NEIGHBOUR, OTHERS = "127.0.0.21", "127.0.0.22", ("127.0.0.23", "127.0.0.24", "127.0.0.25", "127.0.0.26")
LARGE = 2
LENGTH = 3_000_000


@dataclass(frozen=True)
class Locked:
    fleet: LocalFleet
    key: str
    operator: str
    others: tuple[str, ...]

    def open(
        self, headers: str, *, start: bytes = b"", source: str = CAMERA, path: str = "/v1/detect"
    ) -> socket.socket:
        """Sends a head, and as much of the body as `start`."""
        connection = socket.create_connection(("127.0.0.1", self.fleet.port), timeout=30, source_address=(source, 0))
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode() + start)
        return connection

    def ask(self, headers: str, body: bytes = b"x", **more: str) -> int:
        length = f"Content-Length: {len(body)}\r\nConnection: close\r\n"
        with self.open(headers + length, start=body, **more) as connection:
            return status_of(connection)

    def answered(self, headers: str, body: bytes = b"x", **more: str) -> int:
        """The same, once the last request of this key is no longer counted: nginx ends it after its answer."""
        last = [429]

        def not_refused() -> bool:
            last.append(self.ask(headers, body, **more))
            return last[-1] != 429

        wait_until("it may ask again", not_refused)
        return last[-1]

    def held(self) -> int:
        """Bytes of bodies on disk; nginx unlinks the files at once, so no listing of folders shows them."""
        found = 0
        for worker in self.fleet.processes():
            for file in Path(f"/proc/{worker.pid}/fd").iterdir():
                try:
                    if os.readlink(file).startswith(str(self.fleet.paths.tmp / "body")):
                        found += file.stat().st_size
                except FileNotFoundError:
                    continue  # closed meanwhile
        return found


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    key, operator = add_key(keys, "camera", ["detect"]), add_key(keys, "boss", ["operate"])
    others = tuple(add_key(keys, f"other{number}", ["detect"]) for number in range(SHARES * LARGE + 2))
    with local_fleet(tmp_path_factory.mktemp("var")) as fleet:
        options = ("up", *fleet.options(), "--concurrency", "1", "--large", str(LARGE))
        done = fleet.run(*options, keys=str(keys), log_every="1")
        assert done.returncode == 0, done.stdout + done.stderr
        yield Locked(fleet, key, operator, others)


def status_of(connection: socket.socket) -> int:
    return int(connection.recv(12)[9:])


def whole_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    answer = HTTPResponse(connection)
    answer.begin()
    # Not to the end of the connection: nginx lets it linger for a client that still sends.
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


LONG = f"Content-Length: {LENGTH}\r\nConnection: close\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\nConnection: close\r\n"


@pytest.mark.parametrize("length", [LONG, CHUNKED], ids=["long", "chunked"])
@pytest.mark.parametrize("path", ["/v1/detect", "/v2/models/detect/infer", "/v1/vision/detection"])
@pytest.mark.parametrize("who", ["nobody", "a stranger", "an operator"])
def test_who_may_not_ask_is_told_so_in_the_same_words_before_any_of_a_large_body_is_read(
    locked: Locked, path: str, length: str, who: str
) -> None:
    key = {"nobody": "", "a stranger": "X-API-Key: no\r\n", "an operator": f"X-API-Key: {locked.operator}\r\n"}[who]
    named = key + "X-Request-ID: same\r\n"
    with locked.open(named + length, path=path) as connection:
        early, early_headers, early_body = whole_answer(connection)
    with direct_session() as session:
        headers = dict(line.split(": ") for line in named.splitlines())
        small = session.post(f"{locked.fleet.instance_url(0)}{path}", data=b"x", headers=headers, timeout=30)
    assert (early, json.loads(early_body)) == (small.status_code, small.json())
    for name in ("Content-Type", "WWW-Authenticate", "X-Request-ID"):
        assert early_headers.get(name.lower()) == small.headers.get(name)
    assert early_headers["x-instance"] in ("cpu0", "cpu1")
    assert locked.held() == 0


def test_who_brings_no_key_is_refused_before_a_small_body_too(locked: Locked) -> None:
    with locked.open("Content-Length: 5000\r\n") as connection:
        assert status_of(connection) == 401


def test_of_a_large_body_with_a_key_the_answer_is_as_ever(locked: Locked, picture: bytes) -> None:
    key = f"Authorization: Bearer {locked.key}\r\n"
    assert locked.answered(key, picture + bytes(LENGTH)) == 200
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (picture, bytes(LENGTH), b"")) + b"\r\n"
    with locked.open(key + CHUNKED, start=chunks) as connection:
        assert status_of(connection) == 200
    assert locked.answered(key, bytes(LENGTH), path="/v1/nothing") == 404


def test_a_check_is_no_request_in_figures_and_logs(locked: Locked) -> None:
    key = f"Authorization: Bearer {locked.key}\r\nX-Request-ID: counted-once\r\n"
    assert locked.answered(key, bytes(LENGTH)) == 415
    log = "".join(locked.fleet.log(name) for name in ("cpu0", "cpu1"))
    assert log.count("counted-once") == 1


def large(locked: Locked, stack: ExitStack, number: int, source: str) -> socket.socket:
    """A large body that is not sent to its end, with a key of its own: only what counts by address is in the way."""
    head = f"X-API-Key: {locked.others[number]}\r\n{LONG}"
    return stack.enter_context(locked.open(head, start=bytes(LENGTH - 1), source=source))


def refused_among(connections: Sequence[socket.socket]) -> bool:
    answered, _, _ = select.select(connections, [], [], 0)
    return any(status_of(connection) == 429 for connection in answered)


def test_large_bodies_that_do_not_end_take_a_bounded_part_of_the_disk_and_leave_small_ones_alone(
    locked: Locked, picture: bytes
) -> None:
    key = f"X-API-Key: {locked.key}\r\n"
    with ExitStack() as stack:
        mine = [large(locked, stack, number, CAMERA) for number in range(LARGE)]
        wait_until("both are on disk", lambda: locked.held() >= LARGE * 1_000_000)
        assert locked.ask(key, bytes(LENGTH)) == 429
        assert locked.answered(key, picture) == 200
        assert locked.answered(key, picture + bytes(LENGTH), source=NEIGHBOUR) == 200
        others = [large(locked, stack, number, OTHERS[number // LARGE]) for number in range(LARGE, SHARES * LARGE)]
        # All of the shares are taken, so a further address has to wait as well.
        wait_until("all are on disk", lambda: locked.held() >= SHARES * LARGE * 1_000_000)
        assert locked.ask(key, bytes(LENGTH), source=NEIGHBOUR) == 429
        assert locked.answered(key, picture, source=NEIGHBOUR) == 200
        assert not refused_among([*mine, *others])
        assert locked.held() <= SHARES * LARGE * LENGTH
    wait_until("the disk is free again", lambda: locked.held() == 0)


def test_who_may_not_ask_takes_no_place_of_a_large_body(locked: Locked, picture: bytes) -> None:
    key = f"X-API-Key: {locked.others[-2]}\r\n"  # that nothing else here has just used
    with ExitStack() as stack:
        for number in range(SHARES * LARGE):
            # It goes on sending, and nginx goes on reading for a while, so that it sees the answer.
            sent = stack.enter_context(locked.open(LONG, start=bytes(1000), source=OTHERS[number // LARGE]))
            assert status_of(sent) == 401
        assert locked.ask(key, picture + bytes(LENGTH), source=NEIGHBOUR) == 200


def test_an_instance_that_hangs_keeps_nobody_out_and_lets_nobody_in(locked: Locked, picture: bytes) -> None:
    key, worker = f"X-API-Key: {locked.key}\r\n", locked.fleet.worker_pid(0)
    os.kill(worker, signal.SIGSTOP)
    try:
        for _ in range(2):
            assert locked.ask("", bytes(LENGTH), source=NEIGHBOUR) == 401
    finally:
        os.kill(worker, signal.SIGCONT)
    wait_until("it answers again", lambda: ready(locked.fleet.instance_url(0)))
    assert locked.answered(key, picture + bytes(LENGTH)) == 200


# Each is the same key to an instance, or none.
SPELLINGS = [
    "Authorization: Bearer {key}",
    "Authorization: bEARER   {key}",
    "Authorization: Bearer \t{key}\t",
    "Authorization:\tBearer\t{key}",
    "X-API-Key: {key}",
    "x-api-key: \t {key} \t",
    "Authorization: Bearer {key}\r\nX-API-Key: other",
    "Authorization: Other\r\nX-API-Key: {key}",
    "Authorization: bearerX {key}\r\nX-API-Key: {key}",
    "Authorization: Basic {key}\r\nX-API-Key: {key}",
    "Authorization: Bearer\r\nX-API-Key: {key}",
    "Authorization: \r\nX-API-Key: {key}",
    "X-API-Key: {key}\r\nX-API-Key: other",
    "X-API-Key: other\r\nX-API-Key: {key}",
    "X-API-Key: \r\nX-API-Key: {key}",
    "X-API-Key: {key}\r\nX-API-Key:",
    "Authorization: Other\r\nAuthorization: Bearer {key}",
    "Authorization: Bearer {key}\r\nAuthorization: Bearer other",
    "Authorization: \r\nAuthorization: Bearer {key}",
    "Authorization: Bearer {key},\r\nX-API-Key: {key}",
    "X_API_Key: {key}",
]


BASIC = "Authorization: Basic {password}"
SPELLINGS += [
    BASIC,
    "Authorization: basic \t {password}",
    BASIC + "\r\nX-API-Key: {key}",
    BASIC + "\r\nX-API-Key: other",
]


STARTS = ("Authorization: Bearer {key}", "X-API-Key: {key}", BASIC)


@pytest.mark.parametrize("first", STARTS, ids=["bearer", "other", "basic"])
def test_while_a_key_has_all_it_may_no_spelling_and_no_other_header_gets_it_more(locked: Locked, first: str) -> None:
    key = locked.others[STARTS.index(first)]  # that nothing else of this file has just used
    values = {"key": key, "password": base64.b64encode(f"any:{key}".encode()).decode()}
    with locked.open(first.format(**values) + "\r\nContent-Length: 9\r\nExpect: 100-continue\r\n") as held:
        assert status_of(held) == 100  # nginx waits for the body, and has counted
        for number, spelling in enumerate(SPELLINGS):
            # An address each, so that who is counted by address is not refused for another's sake.
            status = locked.ask(spelling.format(**values) + "\r\n", source=f"127.0.1.{number + 1}")
            assert status in (400, 401, 429), spelling


def test_a_key_as_a_password_is_taken_by_the_balancer_too(locked: Locked, picture: bytes) -> None:
    for user in ("any", "", "other"):
        password = base64.b64encode(f"{user}:{locked.key}".encode()).decode()
        for body in (picture, picture + bytes(LENGTH)):
            assert locked.answered(f"Authorization: Basic {password}\r\n", body) == 200
        assert locked.ask(f"Authorization: Basic x{password}\r\n", picture) == 401


def test_a_key_sent_wherever_it_does_not_belong_is_in_no_log(locked: Locked) -> None:
    key, password = locked.key, base64.b64encode(f"any:{locked.key}".encode()).decode()
    for long in ("", "x" * 300, "x" * 9000):
        for way in (
            "Authorization: Bearer {}",
            "X-API-Key: {}",
            "Authorization: {}",
            "{}: x",
            "no header {}",
            "Te: {}",
        ):
            assert locked.ask(way.format(key + long) + "\r\n") in (200, 400, 401, 415, 429, 431)
        assert locked.ask(f"Authorization: Basic {password}{long}\r\n", bytes(LENGTH)) in (401, 415, 431)
    for length in (f"Content-Length: {key}\r\n", f"Transfer-Encoding: {key}\r\n", f"Expect: {key}\r\n"):
        with closing(locked.open(length)) as connection:
            connection.shutdown(socket.SHUT_WR)
            connection.recv(100)
    logs = [path for path in locked.fleet.paths.log_of("cpu0").parent.rglob("*") if path.is_file()]
    assert len(logs) > 2
    assert [
        str(path) for path in logs if key.encode() in path.read_bytes() or password.encode() in path.read_bytes()
    ] == []


def test_a_key_in_an_address_is_not_in_the_access_log(locked: Locked) -> None:
    key = locked.others[-1]
    for query in (f"a=b&api_key={key}", f"TOKEN={key}&a=b", f"key={key}?"):
        assert locked.answered(f"X-API-Key: {key}\r\n", path=f"/v1/detect?{query}") == 422
    log = locked.fleet.paths.access_log
    wait_until("all are logged", lambda: log.read_text().count(',"status":422,') >= 3)
    assert key not in log.read_text()
    assert "/v1/detect?a=b&api_key..." in log.read_text()


def test_what_a_killed_worker_had_in_hand_is_not_counted_for_ever(locked: Locked, picture: bytes) -> None:
    key = f"X-API-Key: {locked.key}\r\n"
    wait_until("nginx counts as running", lambda: locked.fleet.states()["balancer"].state == "RUNNING")
    with ExitStack() as stack:
        for number in range(LARGE):
            large(locked, stack, number, CAMERA)
        wait_until("all are on disk", lambda: locked.held() >= LARGE * 1_000_000)
        for worker in serving_workers(locked.fleet.paths):
            os.kill(worker, signal.SIGKILL)
    wait_until("it may ask again", lambda: asked_well(locked, key + LONG, picture))
    assert locked.answered(f"X-API-Key: {locked.others[0]}\r\n", picture) == 200


def asked_well(locked: Locked, headers: str, picture: bytes) -> bool:
    try:
        with locked.open(headers, start=picture + bytes(LENGTH - len(picture))) as connection:
            return status_of(connection) == 200
    except (OSError, ValueError):  # while nginx is replaced
        return False


def test_who_asks_for_pictures_back_has_as_few_places_for_they_may_lie_on_disk_too(
    locked: Locked, picture: bytes
) -> None:
    waits = "Content-Length: 5000\r\nExpect: 100-continue\r\n"
    with ExitStack() as stack:
        for number in range(LARGE):
            head = f"X-API-Key: {locked.others[number]}\r\nAccept: text/plain, IMAGE/*\r\n{waits}"
            assert status_of(stack.enter_context(locked.open(head))) == 100
        asked = f"X-API-Key: {locked.others[LARGE]}\r\n"
        assert locked.ask(asked + "Accept: image/jpeg\r\n") == 429
        assert locked.answered(asked + "Accept: application/json\r\n", picture) == 200
        # Of several, an instance sees what nginx has looked at.
        several = f"Accept: text/plain\r\nAccept: image/jpeg\r\nContent-Length: {len(picture)}\r\n"
        with locked.open(asked + several, start=picture) as connection:
            _, answer, _ = whole_answer(connection)
        assert not answer["content-type"].startswith("image/")


def test_while_it_winds_down_a_refusal_ends_its_connection_too(locked: Locked) -> None:
    winding_down = locked.fleet.paths.winding_down
    winding_down.touch()
    try:
        for head in (f"Content-Length: {LENGTH}\r\n", "Authorization: Basic eDp5\r\n", "Content-Length: 9\r\n"):
            with locked.open(head) as connection:
                status, headers, _ = whole_answer(connection)
            assert (status, headers["connection"]) == (401, "close")
    finally:
        winding_down.unlink()
