"""What cannot start says why in one clear line, and leaves nothing half-started behind."""

import hashlib
import json
import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.fleet import LocalFleet, background, wait_for_line

pytestmark = pytest.mark.e2e


@pytest.fixture
def fleet(new_fleet: Callable[[], LocalFleet]) -> LocalFleet:
    return new_fleet()


@pytest.fixture
def unloadable(tmp_path: Path, default_model: Path) -> Path:
    """A file that is as its manifest says, and no model all the same."""
    model, data = tmp_path / "unloadable.onnx", b"no model" * 100
    model.write_bytes(data)
    manifest = json.loads(default_model.with_suffix(".json").read_text())
    model.with_suffix(".json").write_text(json.dumps(manifest | {"sha256": hashlib.sha256(data).hexdigest()}))
    return model


def refused(fleet: LocalFleet, *more: str, **settings: str) -> str:
    done = fleet.run("up", *fleet.options(), *more, **settings)
    assert done.returncode == 1, done.stdout + done.stderr
    assert fleet.processes() == ()
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr.strip()


def test_a_missing_nginx(fleet: LocalFleet) -> None:
    message = refused(fleet, "--nginx", "/nowhere/nginx")
    assert message == "nginx: not found (/nowhere/nginx); install it: apt-get install nginx-light"


def test_a_missing_model(fleet: LocalFleet) -> None:
    message = refused(fleet.with_model("/nowhere/model.onnx"))
    assert message == (
        "FRAMEFLEET_MODEL: /nowhere/model.onnx does not exist; `make setup` and `make model` put models there"
    )


@pytest.mark.parametrize("offset", [0, 2], ids=["balancer", "instance"])
def test_a_taken_port(fleet: LocalFleet, offset: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", fleet.port + offset))
        other.listen()
        message = refused(fleet)
    assert re.fullmatch(
        rf"port {fleet.port + offset}: already taken by \w+, pid {os.getpid()}; free it or choose another port",
        message,
    )


def test_a_corrupt_model(fleet: LocalFleet) -> None:
    model = fleet.var / "corrupt.onnx"
    model.write_bytes(b"no model" * 100)
    assert re.fullmatch(r"FRAMEFLEET_MODEL: .*/corrupt\.json: missing; .*", refused(fleet.with_model(str(model))))


def test_what_only_a_start_shows(fleet: LocalFleet, unloadable: Path) -> None:
    message = refused(fleet.with_model(str(unloadable)))
    reason = r"cannot start: FRAMEFLEET_MODEL: .*/unloadable\.onnx is no model ONNX Runtime can load .*"
    assert re.fullmatch(rf"(cpu[01]): ended while it started: {reason}; its log is .*/log/\1\.log", message)


def test_a_setting_that_does_not_exist(fleet: LocalFleet) -> None:
    message = refused(fleet, qeue_size="7", conf="7")
    assert message.splitlines() == [
        "FRAMEFLEET_CONF: 7 is outside 0 to 1; correct it",
        "FRAMEFLEET_QEUE_SIZE: no such setting; did you mean FRAMEFLEET_QUEUE_SIZE?",
    ]


def test_a_running_fleet_is_not_touched_by_settings_that_are_wrong(fleet: LocalFleet) -> None:
    fleet.up()
    before = fleet.pids()
    for more, settings in (((), {"conf": "7"}), ((), {"keys": "/nowhere"}), (("--model", "/nowhere/m.onnx"), {})):
        done = fleet.run("up", *fleet.options(), *more, **settings)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("FRAMEFLEET_")
    assert fleet.pids() == before
    assert "nothing had to change" in fleet.up()


def test_a_running_fleet_survives_a_change_that_does_not_start(fleet: LocalFleet, unloadable: Path) -> None:
    fleet.up()
    before = fleet.pids()
    done = fleet.run("up", *fleet.with_model(str(unloadable)).options())
    assert done.returncode == 1
    assert f"changes: model {fleet.model} -> unloadable (what is not given has its default)" in done.stdout
    assert "is no model ONNX Runtime can load" in done.stderr
    assert "going back" in done.stdout
    after = fleet.pids()
    assert after["balancer"] == before["balancer"]
    # The change is tried on one instance, that which started last.
    assert sum(after[name] == before[name] for name in ("cpu0", "cpu1")) == 1
    assert fleet.run("status", "--var", str(fleet.var)).returncode == 0
    assert "nothing had to change" in fleet.up()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_start_is_undone(fleet: LocalFleet, number: signal.Signals) -> None:
    slow = fleet.with_model("simulated:load_ms=3000")
    with background(slow.command("up", *slow.options(1))) as process:
        wait_for_line(process, "waiting for 1 instance")
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    assert fleet.processes() == ()
