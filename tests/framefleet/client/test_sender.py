import base64
import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from framefleet.client.sender import RetryPolicy, Sender, SendError, SendingStopped, jpeg_wire, raw_wire
from framefleet.http.session import CERTIFICATE_VARIABLES
from framefleet.wire.answers import Detection
from tests.service.stub import Reply, Stub, running_stub

FRAME = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
FOUND = {"detections": [{"label": "face", "class_id": 2, "score": 0.9, "box": [1, 2, 3.5, 4]}]}
BUSY = Reply(503, b'{"detail": "the queue is full"}', {"Retry-After": "3"})


class RecordedWaits(threading.Event):
    """Never lets a test wait; keeps what it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_s: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.asked_s.append(timeout)
        return self.is_set()


def sender(url: str, **changes: Any) -> Sender:
    arguments: dict[str, Any] = {"stopped": RecordedWaits(), "jitter": lambda: 0.0}
    return Sender(url, jpeg_wire(90, None), **{**arguments, **changes})


def test_answer_has_boxes_instance_and_stage_timings() -> None:
    headers = {"X-Instance": "gpu1", "Server-Timing": "decode;dur=0.5, queue;dur=0.1, infer;dur=30.1, post;dur=0.2"}
    with running_stub(Reply(body=json.dumps(FOUND).encode(), headers=headers)) as stub:
        answer = sender(stub.url + "/").send(FRAME)

    assert answer.detections == [Detection("face", 2, 0.9, (1.0, 2.0, 3.5, 4.0))]
    assert (answer.instance, answer.retries) == ("gpu1", 0)
    assert answer.stages_ms == {"decode": 0.5, "queue": 0.1, "infer": 30.1, "post": 0.2}
    assert answer.latency_ms > 0


def test_jpeg_wire_sends_the_picture_and_the_threshold() -> None:
    with running_stub() as stub:
        Sender(stub.url, jpeg_wire(100, 0.25)).send(FRAME)

    assert stub.paths == ["/v1/detect?conf=0.25"]
    sent = cv2.imdecode(np.frombuffer(stub.bodies[0], np.uint8), cv2.IMREAD_COLOR)
    assert stub.bodies[0].startswith(b"\xff\xd8\xff")
    assert sent is not None and sent.shape == FRAME.shape


def test_raw_wire_sends_the_very_pixels_and_names_classes_it_knows() -> None:
    reply = Reply(body=b'[{"0": [1, 2, 30, 40, 0.92]}, {"26": [-3, 0, 5, 6, 0.4]}]')
    with running_stub(reply) as stub:
        answer = Sender(stub.url, raw_wire(["T01"])).send(FRAME)

    document = json.loads(stub.bodies[0])
    assert stub.paths == ["/predict"]
    assert (document["height"], document["width"]) == (48, 64)
    assert base64.b64decode(document["image"], validate=True) == FRAME.tobytes()
    assert answer.detections == [
        Detection("T01", 0, 0.92, (1.0, 2.0, 30.0, 40.0)),
        Detection("class 26", 26, 0.4, (-3.0, 0.0, 5.0, 6.0)),
    ]


def test_frames_share_one_connection() -> None:
    with running_stub() as stub:
        client = sender(stub.url)
        for _ in range(3):
            client.send(FRAME)

    assert len(stub.bodies) == 3
    assert len(stub.connections) == 1


@pytest.mark.parametrize(
    "failure",
    [BUSY, Reply(429), Reply(502), Reply(0)],
    ids=["overloaded", "over its rate", "nothing behind the balancer", "connection broken"],
)
def test_failure_that_may_pass_is_tried_again(failure: Reply) -> None:
    reasons: list[str] = []
    with running_stub(failure, failure, Reply()) as stub:
        answer = sender(stub.url, on_retry=reasons.append).send(FRAME)

    assert answer.retries == 2
    assert len(stub.bodies) == 3
    assert len(reasons) == 2


def test_retry_after_decides_the_wait() -> None:
    waits = RecordedWaits()
    with running_stub(BUSY, Reply(503), Reply()) as stub:
        sender(stub.url, stopped=waits).send(FRAME)

    assert waits.asked_s == [3, 0.1], "the three seconds asked for, then half of our own second step"


def test_unreachable_service_is_named_after_the_last_attempt(free_port: Callable[[], int]) -> None:
    url, waits = f"http://127.0.0.1:{free_port()}", RecordedWaits()

    with pytest.raises(SendError, match=rf"{url}: cannot be reached \(connection refused\), 3 times in a row"):
        sender(url, stopped=waits, policy=RetryPolicy(attempts=3)).send(FRAME)

    assert len(waits.asked_s) == 2


@pytest.mark.parametrize("status", [400, 404, 413, 415, 422, 500, 504])
def test_refusal_is_not_tried_again_and_shows_the_problem(status: int) -> None:
    problem = Reply(status, b'{"detail": "image: 1x1 is too small"}', {"X-Request-ID": "r-7"})
    with (
        running_stub(problem) as stub,
        pytest.raises(SendError, match=rf"answered {status} .*: image: 1x1 is too small \(request id r-7\)"),
    ):
        sender(stub.url).send(FRAME)

    assert len(stub.bodies) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"boxes": []}', b'{"detections": [{"label": "x"}]}', b"3"])
def test_another_services_answer_is_refused(body: bytes) -> None:
    with running_stub(Reply(body=body)) as stub, pytest.raises(SendError, match="is this the detector's address"):
        sender(stub.url).send(FRAME)


def test_service_that_never_answers_is_given_up() -> None:
    with running_stub() as stub:
        stub.ungated = 0
        with pytest.raises(SendError, match=r"no answer within 0\.05 s"):
            sender(stub.url, timeout_s=0.05).send(FRAME)


def test_stopped_client_sends_nothing_more() -> None:
    stopped = threading.Event()
    stopped.set()
    with running_stub() as stub, pytest.raises(SendingStopped):
        sender(stub.url, stopped=stopped).send(FRAME)

    assert stub.bodies == []


@pytest.mark.parametrize(
    ("attempt", "retry_after", "jitter", "expected"),
    [
        (1, None, 1.0, 0.1),
        (3, None, 1.0, 0.4),
        (3, None, 0.0, 0.2),
        (20, None, 1.0, 5.0),
        (1, "2", 0.0, 2.0),
        (1, "2", 1.0, 2.5),
        (1, "3600", 0.0, 5.0),
        (1, "0", 1.0, 0.0),
        (2, "Wed, 21 Oct 2026 07:28:00 GMT", 1.0, 0.2),
    ],
)
def test_wait_doubles_or_follows_the_server_and_is_bounded(
    attempt: int, retry_after: str | None, jitter: float, expected: float
) -> None:
    assert RetryPolicy().wait_s(attempt, retry_after, jitter) == pytest.approx(expected)


def test_a_key_travels_in_the_head_whatever_netrc_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with running_stub(Reply(body=json.dumps(FOUND).encode())) as stub:
        sender(stub.url, key="s3cret").send(FRAME)
        assert stub.authorizations == {"Bearer s3cret"}
        sender(stub.url).send(FRAME)
    assert stub.authorizations == {"Bearer s3cret", ""}
    assert [b"s3cret" in body for body in stub.bodies] == [False, False]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 that nobody signed, in one file."""
    path = tmp_path_factory.mktemp("tls") / "own.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@contextmanager
def running_tls_stub(certificate: Path) -> Iterator[Stub]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with running_stub(Reply(body=json.dumps(FOUND).encode()), tls=context) as stub:
        yield stub


def test_own_certificate_is_trusted_by_option_or_environment(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in CERTIFICATE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with running_tls_stub(certificate) as stub:
        assert sender(stub.url, cacert=certificate).send(FRAME).detections
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert sender(stub.url).send(FRAME).detections


def test_a_certificate_that_nobody_trusts_is_named_at_once(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CERTIFICATE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    waits = RecordedWaits()
    with running_tls_stub(certificate) as stub, pytest.raises(SendError, match=r"self-signed certificate.*--cacert"):
        sender(stub.url, stopped=waits).send(FRAME)
    assert waits.asked_s == []
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "no.pem")
    with running_tls_stub(certificate) as stub, pytest.raises(SendError, match=r"no\.pem"):
        sender(stub.url).send(FRAME)
