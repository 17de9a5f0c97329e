"""What the commands say to whoever types them, and that they know which fleet runs."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.errors import ControlError
from deploy.files.record import read_record
from deploy.guard.reload import reload_balancer
from deploy.machine.control import Control
from deploy.machine.machine import Machine
from service.keys import add_key
from tests.e2e.fleet import COMMAND_LIMIT_S, ROOT, LocalFleet, background, clean_environment, ready, wait_for_line

pytestmark = pytest.mark.e2e


def tool(module: str, *arguments: str, key: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=clean_environment() | {"FLEET_API_KEY": key},
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_S,
        check=False,
    )


def replay(fleet: LocalFleet, video: Path, out: Path, *, key: str = "") -> "subprocess.CompletedProcess[str]":
    short = ("--cameras", "1", "--seconds", "1", "--max-frames", "2", "--slo-ms", "5000")
    arguments = ("--var", str(fleet.var), "--video", str(video), "--out", str(out), *short)
    return tool("loadtest", "replay", *arguments, key=key)


def test_tools_ask_the_fleet_that_runs_without_being_told_where(
    fleet: LocalFleet, sample_video: Path, tmp_path: Path
) -> None:
    detected = tool("framefleet.client", str(sample_video), "--var", str(fleet.var), "--limit", "3")
    assert detected.returncode == 0 and "frames      3" in detected.stdout, detected.stderr
    replayed = replay(fleet, sample_video, tmp_path / "run")
    assert replayed.returncode == 0 and "PASSED" in replayed.stdout, replayed.stdout + replayed.stderr
    options = ("--run-dir", str(tmp_path / "locust"), "--video", str(sample_video), "--cameras", "1", "--seconds", "1")
    locust = (
        "-f",
        "loadtest/generate/locustfile.py",
        "--headless",
        "--only-summary",
        "--var",
        str(fleet.var),
        *options,
    )
    done = tool("locust", *locust, "--max-frames", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f'"{fleet.url}"' in (tmp_path / "locust" / "run.json").read_text()


def test_up_says_what_it_changes_and_what_serves_and_tools_what_key_it_asks_for(
    new_fleet: Callable[[], LocalFleet], default_model: Path, sample_video: Path
) -> None:
    fleet = new_fleet().with_model(str(default_model))
    last = fleet.up(instances=1).splitlines()[-1]
    assert last == f"up: 1 instance of release dev, {default_model.stem} on cpu, behind {fleet.url}"
    keys = fleet.var / "keys"
    key, other = add_key(keys, "me", ["detect"]), add_key(keys, "watcher", ["operate"])
    shown = fleet.up(instances=1, keys=str(keys), conf="0.4")
    assert f"changes: FRAMEFLEET_CONF default -> 0.4; keys off -> {keys} (what is not given has its default)" in shown

    client = ("framefleet.client", str(sample_video), "--var", str(fleet.var), "--limit", "1")
    load = replay(fleet, sample_video, fleet.var / "report")
    for done in (smoke(fleet, ""), tool(*client), load):
        assert done.returncode == 1
        assert (
            "401; set FLEET_API_KEY to one of its API keys; `make key NAME=...` makes one" in done.stdout + done.stderr
        )
    for wrong, advice in (("s3cret", "correct FLEET_API_KEY"), (other, "FLEET_API_KEY needs one with SCOPES=detect")):
        refused = smoke(fleet, wrong)
        assert refused.returncode == 1 and advice in refused.stdout and wrong not in refused.stdout
    assert tool(*client, key=key).returncode == 0
    assert f"keys {keys} -> off" in fleet.up(instances=1)


def smoke(fleet: LocalFleet, key: str) -> "subprocess.CompletedProcess[str]":
    image = fleet.var / "picture.jpg"
    image.write_bytes(b"\xff\xd8\xff\xe0")
    return tool("deploy", "smoke", "--var", str(fleet.var), "--image", str(image), key=key)


def test_an_exec_on_a_running_fleet_says_which_options_it_leaves_aside(fleet: LocalFleet) -> None:
    done = fleet.run("exec", *fleet.options(1), "--", "true")
    assert "note: `make up` would change: instances 2 -> 1" in done.stdout.splitlines()[-1]
    assert "note: " not in fleet.run("exec", *fleet.options(), "--", "true").stdout


def test_a_video_that_is_not_there_is_said_before_a_fleet_is_started(
    new_fleet: Callable[[], LocalFleet], tmp_path: Path
) -> None:
    fleet = new_fleet()
    load = (sys.executable, "-m", "loadtest", "replay", "--var", str(fleet.var), "--video", str(tmp_path / "no.mp4"))
    done = fleet.run("exec", "--check", *fleet.options(1), "--", *load)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"loadtest: {tmp_path}/no.mp4: no such video; give the path of a file with --video\n"
    assert not fleet.paths.record.exists()


def test_nginx_says_itself_why_it_does_not_take_new_files(new_fleet: Callable[[], LocalFleet]) -> None:
    fleet = new_fleet()
    fleet.up(instances=1)
    upstream = fleet.paths.etc / "nginx" / "snippets" / "upstream.conf"
    upstream.write_text(upstream.read_text().replace("least_conn;", "least_con;"))
    with (
        Control(fleet.paths) as control,
        pytest.raises(ControlError, match=r'\[emerg\] unknown directive "least_con" in .*:5'),
    ):
        reload_balancer(fleet.paths, control, Machine(say=lambda line: None))


def test_locust_without_a_fleet_and_an_address_names_both(sample_video: Path, tmp_path: Path) -> None:
    options = ("--headless", "--var", str(tmp_path), "--run-dir", str(tmp_path / "run"), "--video", str(sample_video))
    done = tool("locust", "-f", "loadtest/generate/locustfile.py", *options)
    assert done.returncode == 2
    assert f"--host: no fleet runs in {tmp_path}; start one with `make up`" in done.stderr


def without_reader() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("place", ["/dev/full", "a reader who has gone"])
def test_a_fleet_is_changed_and_stopped_though_nobody_can_read_what_is_said(
    place: str, new_fleet: Callable[[], LocalFleet]
) -> None:
    fleet = new_fleet()
    fleet.up(instances=1)

    def unread(*arguments: str) -> None:
        command, environ = fleet.command(*arguments), clean_environment()
        with open(place if place == "/dev/full" else without_reader(), "wb") as output:
            subprocess.run(command, cwd=ROOT, env=environ, stdout=output, timeout=COMMAND_LIMIT_S, check=False)

    unread("up", *fleet.options(2))
    assert len(read_record(fleet.paths).instances) == 2
    assert ready(fleet.instance_url(1))
    unread("down", "--var", str(fleet.var))
    assert fleet.processes() == ()


def test_a_fleet_of_an_exec_is_stopped_though_its_reader_has_gone(new_fleet: Callable[[], LocalFleet]) -> None:
    fleet = new_fleet()
    with background(fleet.command("exec", *fleet.options(1), "--", "echo")) as process:
        wait_for_line(process, "up: ")
        assert process.stdout
        process.stdout.close()
        process.wait(COMMAND_LIMIT_S)
        assert fleet.processes() == ()
