"""An instance listens exactly while it can answer, and its processes live and die together."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests

from chaos.machine import starve_of_descriptors
from service.keys import add_key
from tests.instance import RunningInstance, listens, running_instance, start_instance, stop_instance, wait_until
from tests.service.held import held_instance, picture
from tests.service.models.manifests import save_model

LIMIT_S = 60


@pytest.fixture
def port(free_port: Callable[[], int]) -> int:
    return free_port()


@pytest.fixture
def instance(port: int, tmp_path: Path) -> Iterator[RunningInstance]:
    with running_instance(port, "simulated:a_ms=1", tmp_path / "log") as running:
        yield running


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def workers_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_port_stays_closed_while_the_model_loads(port: int, tmp_path: Path) -> None:
    instance = start_instance(port, "simulated:load_ms=3000", tmp_path / "log")
    try:
        wait_until("a worker", lambda: bool(workers_of(instance.process.pid)))
        assert not listens(port)
        instance.wait_until_ready()
    finally:
        stop_instance(instance)


def test_sigterm_closes_the_port_at_once_and_answers_what_is_in_flight(port: int, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool, held_instance(port, tmp_path) as held:
        process, url = held.instance.process, f"{held.instance.url}/predict"
        answers = [held.first, *(pool.submit(requests.post, url, picture(0), timeout=LIMIT_S) for _ in range(2))]
        held.wait_for_places(3)
        process.send_signal(signal.SIGTERM)
        wait_until("a closed port", lambda: not listens(port))
        assert not any(answer.done() for answer in answers)
        held.let_go()
        assert [answer.result(LIMIT_S).status_code for answer in answers] == [200] * 3
        assert process.wait(LIMIT_S) == 0


def test_a_worker_that_can_accept_no_more_answers_what_it_has_and_ends(instance: RunningInstance, port: int) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(picture(0))
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as slow:
        slow.sendall(head + picture(0)[:100])
        wait_until("it is accepted", lambda: is_accepted(slow))
        starve_of_descriptors(instance.worker_pid())
        wait_until("a closed port", lambda: not listens(port))
        slow.sendall(picture(0)[100:])
        assert slow.recv(12) == b"HTTP/1.1 200"
    assert instance.process.wait(LIMIT_S) == 70
    assert '"event": "cannot_accept"' in instance.log.read_text()


def is_accepted(client: socket.socket) -> bool:
    """Whether the process at the other end has taken a connection from its queue: until then it has no inode."""
    ends = [f":{client.getpeername()[1]:04X}", f":{client.getsockname()[1]:04X}"]
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any([row[1][-5:], row[2][-5:]] == ends and row[9] != "0" for row in rows)


def test_a_killed_worker_ends_the_master_so_that_supervisor_learns_of_it(instance: RunningInstance, port: int) -> None:
    os.kill(instance.worker_pid(), signal.SIGKILL)
    assert instance.process.wait(LIMIT_S) == 70
    assert not listens(port)


def test_an_answer_of_2_mb_arrives_whole_from_a_worker_killed_as_it_begins(
    instance: RunningInstance, port: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1600, 1600, 3), np.uint8)
    body = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    head = f"POST /v1/detect HTTP/1.1\r\nHost: x\r\nAccept: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
    worker = instance.worker_pid()
    with socket.socket() as client:
        # Takes next to nothing itself, so that the kernel holds the answer for the worker.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(LIMIT_S)
        client.connect(("127.0.0.1", port))
        client.sendall(head.encode() + body)
        client.recv(1, socket.MSG_PEEK)
        os.kill(worker, signal.SIGKILL)
        instance.process.wait(LIMIT_S)
        answer = HTTPResponse(client)
        answer.begin()
        # It raises IncompleteRead of what is cut.
        assert (answer.status, len(answer.read()) > 2_000_000) == (200, True)


def test_a_killed_master_takes_its_worker_along_and_frees_the_port(instance: RunningInstance, port: int) -> None:
    worker = instance.worker_pid()
    instance.process.kill()
    instance.process.wait(LIMIT_S)
    wait_until("the worker's end", lambda: not alive(worker))
    wait_until("a free port", lambda: not listens(port))


def test_a_taken_port_is_one_clear_line(port: int, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", port)):
        broken = start_instance(port, "simulated:", tmp_path / "log")
        try:
            assert broken.process.wait(LIMIT_S) != 0
        finally:
            stop_instance(broken)
    assert f"cannot start: 127.0.0.1:{port} is taken" in broken.log.read_text()


def corrupt_model(folder: Path) -> Path:
    return save_model(folder / "garbage.onnx", b"\x00garbage" * 1000)


def replaced_model(folder: Path) -> Path:
    path = save_model(folder / "garbage.onnx", b"model" * 1000)
    path.write_bytes(b"another model")
    return path


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        (lambda folder: folder / "missing.onnx", {}, "does not exist; `make setup`"),
        (corrupt_model, {}, "is no model ONNX Runtime can load"),
        (replaced_model, {}, "its manifest says"),
        (lambda folder: "model.pt", {}, "is no model file"),
        (lambda folder: "simulated:speed=9", {}, "'speed=9' is not a_ms"),
        (lambda folder: "simulated:", {"conf": 7, "prot": 1}, "did you mean FRAMEFLEET_PORT?"),
    ],
    ids=["missing model", "corrupt model", "replaced model", "unknown suffix", "bad simulation", "bad settings"],
)
def test_what_cannot_start_says_so_in_one_line(
    model: Callable[[Path], object], settings: dict[str, object], words: str, port: int, tmp_path: Path
) -> None:
    broken = start_instance(port, str(model(tmp_path)), tmp_path / "log", **settings)
    try:
        assert broken.process.wait(LIMIT_S) != 0
    finally:
        stop_instance(broken)
    log = broken.log.read_text()
    (line,) = [line for line in log.splitlines() if line.startswith("cannot start: ")]
    assert words in line
    assert "Traceback" not in log


@pytest.mark.parametrize("refused", ["key", "size"])
def test_a_refusal_that_left_the_body_unread_says_that_the_connection_ends(
    port: int, tmp_path: Path, refused: str
) -> None:
    secret = add_key(tmp_path / "keys", "camera", ["detect"])
    limits = {"keys": tmp_path / "keys", "max_body_bytes": 10**6}
    with (
        running_instance(port, "simulated:a_ms=1", tmp_path / "log", **limits) as instance,
        requests.Session() as session,
    ):
        session.headers["X-API-Key"] = secret
        headers = {"X-API-Key": "another"} if refused == "key" else {}
        for _ in range(10):
            answer = session.post(f"{instance.url}/v1/detect", bytes(1_200_000), headers=headers, timeout=LIMIT_S)
            assert answer.status_code == {"key": 401, "size": 413}[refused]
            assert answer.headers["Connection"] == "close"
            # Whoever goes on at once finds no connection that is about to end.
            assert session.post(f"{instance.url}/v1/detect", picture(0), timeout=LIMIT_S).status_code == 200
