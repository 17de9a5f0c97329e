"""Under real load with keys: no key and no picture in any log, file, process list, environment or error page."""

import base64
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from service.keys import add_key
from tests.e2e.fleet import ROOT, LocalFleet, clean_environment, direct_session, local_fleet, ready, wait_until

pytestmark = pytest.mark.e2e
COMMAND_LIMIT_S = 120
# Stands in a comment of every picture that is sent here, so that any part of a body that is written down is found.
MARK = b"pixels-of-somebodys-living-room-" * 4

CLOSE = "Connection: close\r\n"


@dataclass(frozen=True)
class Locked:
    """A running fleet that asks for keys, and the one that it knows."""

    fleet: LocalFleet
    key: str

    @property
    def traces(self) -> list[bytes]:
        """What must not be found: the key as it is sent in any way, a picture's bytes as they are or in base64."""
        password = base64.b64encode(f"any:{self.key}".encode())
        in_base64 = [base64.b64encode(MARK[offset:])[4:40] for offset in range(3)]
        return [self.key.encode(), password, MARK[:16], MARK[:16].hex().encode(), *in_base64]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    folder = tmp_path_factory.mktemp("keys")
    key = add_key(folder / "keys", "camera", ["detect"])
    with local_fleet(tmp_path_factory.mktemp("var")) as fleet:
        # Every request is logged, by the instances too.
        fleet.up(keys=str(folder / "keys"), log_every="1", max_side="2000", max_body_bytes="1000000")
        yield Locked(fleet, key)


@pytest.fixture
def marked(picture: bytes) -> bytes:
    """A JPEG with the mark in a comment."""
    return picture[:2] + b"\xff\xfe" + (len(MARK) + 2).to_bytes(2, "big") + MARK + picture[2:]


def found(locked: Locked, text: bytes) -> list[bytes]:
    return [trace for trace in locked.traces if trace in text]


def command_lines() -> bytes:
    """Those of every process of this machine, as anybody there can read them."""
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((folder / "cmdline").read_bytes())
        except OSError:
            continue  # has just ended
    return b"\n".join(lines)


def files_with_traces(locked: Locked) -> list[str]:
    """Every file that the fleet has written: logs, configuration, state."""
    files = [path for path in locked.fleet.var.rglob("*") if path.is_file()]
    assert any(path.name == "balancer-access.log" for path in files)
    return [str(path) for path in files if found(locked, path.read_bytes())]


def bodies(marked: bytes) -> dict[str, tuple[str, bytes]]:
    """Path and body of what is answered with errors of every kind, each with the mark in it."""
    raw = base64.b64encode(MARK * 3).decode()
    return {
        "picture": ("/v1/detect", marked),
        "truncated": ("/v1/detect", marked[:-200]),
        "damaged": ("/v1/detect", marked[:400] + MARK + marked[500:]),
        "no picture": ("/v1/detect", MARK),
        "cut JSON": ("/predict", b'{"height": 4, "width": 8, "image": "' + raw.encode()),
        "wrong size": ("/predict", b'{"height": 9, "width": 9, "image": "' + raw.encode() + b'"}'),
        "deepstack": ("/v1/vision/detection", MARK),
        "protocol": ("/v2/models/detect/infer", b'{"inputs": [{"name": "' + MARK + b'"}]}'),
        "too large": ("/v1/detect", MARK * 9000),
        "no such path": ("/v1/nothing", marked),
    }


def test_error_pages_and_logs_show_neither_key_nor_picture(locked: Locked, marked: bytes) -> None:
    ways = [
        {"Authorization": f"Bearer {locked.key}"},
        {"X-API-Key": locked.key},
        {"Authorization": "Basic " + base64.b64encode(f"any:{locked.key}".encode()).decode()},
        {"Authorization": f"Digest {locked.key}"},
        {"X-API-Key": f"{locked.key}x"},
    ]
    statuses = set()
    with direct_session() as session:
        for base in (locked.fleet.url, locked.fleet.instance_url(0)):
            for path, body in bodies(marked).values():
                for way in ways:
                    answer = session.post(f"{base}{path}", data=body, headers=way, timeout=30)
                    statuses.add(answer.status_code)
                    assert found(locked, answer.content + str(answer.headers).encode()) == []
    assert {200, 400, 401, 404, 413, 415, 422} <= statuses
    assert files_with_traces(locked) == []


@pytest.mark.parametrize(
    "damage",
    [
        CLOSE + "Authorization Bearer {key}",
        CLOSE + "Bearer@{key}: x",
        CLOSE + 'X-API-Key "{key}" it\'s mine',
        CLOSE + "Authorization: Bearer {key}\x01",
        CLOSE + "Content-Length: {key}",
        CLOSE + "Transfer-Encoding: {key}",
        CLOSE + "Transfer-Encoding: chunked\r\n\r\n{key}",
        "X-API-Key: {key}\r\nContent-Length: 3\r\n\r\n...{key} is what is left of a longer body",
    ],
)
def test_a_damaged_request_is_not_quoted_anywhere(locked: Locked, damage: str) -> None:
    head = f"POST /v1/detect HTTP/1.1\r\nHost: x\r\n{damage.format(key=locked.key)}\r\n\r\n".encode()
    for port in (locked.fleet.port, locked.fleet.instance_port):
        answer = b""
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(head)
            while received := connection.recv(65536):
                answer += received
        assert answer.startswith(b"HTTP/1.1 ") and found(locked, answer) == []
    assert files_with_traces(locked) == []


def test_a_crash_with_pictures_in_work_leaves_no_picture_behind(locked: Locked, marked: bytes) -> None:
    headers = {"Authorization": f"Bearer {locked.key}"}
    with direct_session() as session:
        for _ in range(5):
            session.post(f"{locked.fleet.url}/v1/detect", data=marked, headers=headers, timeout=30)
        os.kill(locked.fleet.worker_pid(0), 6)  # SIGABRT: the one that writes stacks and cores
        wait_until("it is back", lambda: ready(locked.fleet.instance_url(0)))
    assert files_with_traces(locked) == []


def run_and_watch(locked: Locked, log: Path, *arguments: str) -> tuple[bytes, list[bytes]]:
    """Runs a client with the key in its environment; returns what it prints, and what process lists give away."""
    shown: list[bytes] = []
    deadline = time.monotonic() + COMMAND_LIMIT_S
    environment = clean_environment() | {"FLEET_API_KEY": locked.key}
    command = [sys.executable, "-m", *arguments]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            while process.poll() is None:
                assert time.monotonic() < deadline, "it does not end"
                shown += found(locked, command_lines())
                time.sleep(0.05)
        finally:
            process.kill()
    return log.read_bytes(), shown


def test_our_own_clients_bring_the_key_and_no_process_list_shows_it(
    locked: Locked, picture: bytes, sample_video: Path, tmp_path: Path
) -> None:
    url, video = locked.fleet.url, str(sample_video)
    clients = {
        "load generator": ("loadtest", "replay", "--url", url, "--video", video, "--cameras", "2", "--seconds", "4"),
        "video client": ("framefleet.client", video, "--url", url, "--limit", "20"),
        "smoke test": ("deploy", "smoke", "--var", str(locked.fleet.var), "--image", str(tmp_path / "picture.jpg")),
    }
    (tmp_path / "picture.jpg").write_bytes(picture)
    for name, arguments in clients.items():
        more = ("--out", str(tmp_path / "report")) if name == "load generator" else ()
        printed, shown = run_and_watch(locked, tmp_path / "log", *arguments, *more)
        assert shown == found(locked, printed) == [], name
        assert b"401" not in printed, printed.decode()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [str(path) for path in written if locked.key.encode() in path.read_bytes()] == []
    assert '"request_id":"replay-' in locked.fleet.paths.access_log.read_text()
    assert files_with_traces(locked) == []


def test_no_process_of_the_fleet_has_a_key_in_its_environment(locked: Locked, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not even where whoever starts the fleet has it in theirs.
    monkeypatch.setenv("FLEET_API_KEY", locked.key)
    folder = locked.fleet.var.parent
    with local_fleet(folder / "another") as fleet:
        fleet.up(1)
        for process in (*locked.fleet.processes(), *fleet.processes()):
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            assert found(locked, environment + Path(f"/proc/{process.pid}/cmdline").read_bytes()) == []


def test_figures_and_status_show_neither(locked: Locked) -> None:
    for base in (locked.fleet.url, locked.fleet.instance_url(0)):
        for path in ("/status", "/metrics", "/openapi.json", "/"):
            assert found(locked, requests.get(f"{base}{path}", timeout=30).content) == []
