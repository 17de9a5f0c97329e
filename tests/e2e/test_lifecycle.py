"""A fleet is started, asked about, changed and stopped with the commands a person uses."""

import fcntl
import json
import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest

from deploy.machine.control import Control
from tests.e2e.fleet import LocalFleet, background, direct_session, ready, wait_for_line, wait_until
from tests.e2e.load import steady_load

pytestmark = pytest.mark.e2e


def admitted(fleet: LocalFleet) -> int:
    with direct_session() as session:
        return int(session.get(f"{fleet.instance_url(0)}/status", timeout=5).json()["queue"]["admitted"])


def test_status_shows_every_program_ready(fleet: LocalFleet) -> None:
    done = fleet.run("status", "--var", str(fleet.var))
    assert done.returncode == 0
    header, *rows = (re.split(r"\s{2,}", line) for line in done.stdout.splitlines())
    assert header == ["PROGRAM", "STATE", "PID", "UPTIME", "PORT", "READY", "RELEASE"]
    pids = fleet.pids()
    assert [(row[0], row[2], row[4], row[5], row[6]) for row in rows] == [
        ("cpu0", str(pids["cpu0"]), str(fleet.instance_port), "yes", "dev"),
        ("cpu1", str(pids["cpu1"]), str(fleet.instance_port + 1), "yes", "dev"),
        ("balancer", str(pids["balancer"]), str(fleet.port), "yes", "dev"),
        ("reviver", str(pids["reviver"]), "-", "yes", "-"),
    ]
    assert {row[1] for row in rows} <= {"up, settling", "RUNNING"}


def test_a_second_up_restarts_nothing_and_says_so(fleet: LocalFleet) -> None:
    before = {process.pid for process in fleet.processes()}
    assert "nothing had to change" in fleet.up()
    assert {process.pid for process in fleet.processes()} == before


def test_scaling_leaves_unchanged_instances_alone_and_loses_no_request(fleet: LocalFleet, picture: bytes) -> None:
    sharing = replace(fleet, own="0")  # dealt out anew, CPUs change for everyone
    sharing.up()
    before = fleet.pids()
    with steady_load(fleet.url, picture) as load:
        load.wait_for_answers(50)
        sharing.up(instances=3)
        wait_until("the new instance answers", lambda: load.good["cpu2"] > 0)
        grown = fleet.pids()
        sharing.up(instances=2)
        shrunk = fleet.pids()
        load.wait_for_answers(50)
    assert load.failures == []
    assert shrunk == before
    assert grown == before | {"cpu2": grown["cpu2"]}


def test_two_instances_have_cpus_of_their_own_and_the_balancer_has_all(fleet: LocalFleet) -> None:
    fleet.up()
    allowed, pids = os.sched_getaffinity(0), fleet.pids()
    first, second = (os.sched_getaffinity(fleet.worker_pid(number)) for number in range(2))
    if len(allowed) > 1:
        assert (first & second, first | second) == (set(), allowed)
    assert os.sched_getaffinity(pids["balancer"]) == os.sched_getaffinity(pids["reviver"]) == allowed
    assert not ready(fleet.instance_url(2))


def test_a_changed_setting_restarts_the_instances_one_by_one_and_loses_no_request(
    fleet: LocalFleet, picture: bytes
) -> None:
    before = fleet.pids()
    with steady_load(fleet.url, picture) as load:
        load.wait_for_answers(50)
        shown = fleet.up(conf="0.4")
        load.wait_for_answers(50)
    after = fleet.pids()
    assert load.failures == []
    # The one that started last comes first, and both started in about the same second.
    replaced = [line for line in shown.splitlines() if line.startswith("replace")]
    assert sorted(replaced) == ["replace cpu0", "replace cpu1"]
    assert after["balancer"] == before["balancer"]
    assert not {after["cpu0"], after["cpu1"]} & set(before.values())


def test_an_instance_that_was_stopped_is_started_again(fleet: LocalFleet) -> None:
    fleet.up()
    before = fleet.pids()
    with Control(fleet.paths) as control:
        control.stop("cpu1")
    assert fleet.run("status", "--var", str(fleet.var)).returncode == 1
    assert "start cpu1" in fleet.up()
    assert fleet.pids()["cpu0"] == before["cpu0"]


def test_instances_get_the_settings_of_the_caller_but_their_own_names(fleet: LocalFleet) -> None:
    fleet.up()
    with direct_session() as session:
        statuses = [session.get(f"{fleet.instance_url(i)}/status", timeout=5).json() for i in range(2)]
    assert [status["instance"] for status in statuses] == ["cpu0", "cpu1"]
    fleet.up(queue_size="7", instance="mine", port="1")
    with direct_session() as session:
        statuses = [session.get(f"{fleet.instance_url(i)}/status", timeout=5).json() for i in range(2)]
    assert [(status["instance"], status["queue"]["limit"]) for status in statuses] == [("cpu0", 7), ("cpu1", 7)]
    fleet.up()


def test_smoke_passes_on_a_picture_and_names_what_failed(fleet: LocalFleet) -> None:
    image = fleet.var / "picture.png"
    cv2.imwrite(str(image), np.zeros((48, 64, 3), np.uint8))
    good = fleet.run("smoke", "--var", str(fleet.var), "--image", str(image))
    assert good.returncode == 0, good.stdout
    assert good.stdout.splitlines()[-1] == "smoke: every answer was right"
    assert len(good.stdout.splitlines()) == 3 * 3 + 1
    image.write_text("no picture")
    bad = fleet.run("smoke", "--var", str(fleet.var), "--image", str(image))
    assert bad.returncode == 1
    assert re.search(r"^FAILED  cpu1 POST /predict: answers 415", bad.stdout, re.MULTILINE)


def test_logs_shows_the_named_programs(fleet: LocalFleet) -> None:
    done = fleet.run("logs", "cpu0", "supervisord", "--var", str(fleet.var), "--no-follow", "--lines", "3")
    assert done.returncode == 0
    assert {line.split(" | ")[0].strip() for line in done.stdout.splitlines()} == {"cpu0", "supervisord"}
    unknown = fleet.run("logs", "cpu9", "--var", str(fleet.var), "--no-follow")
    assert unknown.returncode == 2
    assert "cpu9" in unknown.stderr and "balancer" in unknown.stderr


def test_a_killed_supervisord_is_replaced_with_all_it_started(fleet: LocalFleet) -> None:
    fleet.up()
    orphans = {process.pid for process in fleet.processes()}
    supervisord = next(process.pid for process in fleet.processes() if process.kind == "supervisord")
    os.kill(supervisord, signal.SIGKILL)
    wait_until("supervisord gone", lambda: supervisord not in {process.pid for process in fleet.processes()})
    assert "no fleet runs here" in fleet.run("status", "--var", str(fleet.var)).stderr
    fleet.up()
    assert not orphans & {process.pid for process in fleet.processes()}
    assert set(fleet.pids()) == {"cpu0", "cpu1", "balancer", "reviver"}


def test_down_leaves_no_process_socket_or_port_behind(new_fleet: Callable[[], LocalFleet]) -> None:
    fleet = new_fleet()
    fleet.up(instances=1)
    assert {process.kind for process in fleet.processes()} == {"supervisord", "instance", "balancer"}
    assert re.search(r"down: \d+ processes have ended", fleet.down())
    assert fleet.processes() == ()
    assert [path.name for path in fleet.paths.run.iterdir()] == ["lock"]
    assert not ready(fleet.url) and not ready(fleet.instance_url(0))
    assert "nothing runs in" in fleet.down()


def test_down_clears_away_what_a_killed_supervisord_left(new_fleet: Callable[[], LocalFleet]) -> None:
    fleet, other = new_fleet(), new_fleet()
    fleet.up(instances=1)
    other.up(instances=1)
    bystanders = other.processes()
    supervisord = next(process.pid for process in fleet.processes() if process.kind == "supervisord")
    os.kill(supervisord, signal.SIGKILL)
    wait_until("supervisord gone", lambda: supervisord not in {process.pid for process in fleet.processes()})
    assert "no supervisord looks after" in fleet.down()
    assert fleet.processes() == ()
    assert [path.name for path in fleet.paths.run.iterdir()] == ["lock"]
    assert other.processes() == bystanders


def test_requests_in_flight_are_answered_when_the_fleet_goes_down(
    new_fleet: Callable[[], LocalFleet], picture: bytes
) -> None:
    fleet = new_fleet().with_model("simulated:a_ms=1500")
    fleet.up(instances=1)
    with direct_session() as session, ThreadPoolExecutor(1) as client:
        answer = client.submit(session.post, f"{fleet.url}/v1/detect", data=picture, timeout=30)
        wait_until("the request is in the instance", lambda: admitted(fleet) == 1)
        fleet.down()
        assert answer.result().status_code == 200


def test_two_ups_at_once_do_not_mix(fleet: LocalFleet) -> None:
    with (fleet.paths.run / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = fleet.run("up", *fleet.options())
    assert refused.returncode == 1
    assert "busy with another one" in refused.stderr


def test_the_record_says_what_was_asked_for(fleet: LocalFleet) -> None:
    document = json.loads((fleet.paths.etc / "fleet.json").read_text())
    assert [instance["port"] for instance in document["instances"]] == [fleet.instance_port, fleet.instance_port + 1]
    assert document["balancer"]["port"] == fleet.port


def test_logs_follows_until_interrupted(fleet: LocalFleet) -> None:
    command = fleet.command("logs", "balancer-access", "--var", str(fleet.var), "--lines", "1")
    with direct_session() as session, background(command) as process:
        session.get(f"{fleet.url}/livez", timeout=5)
        wait_for_line(process, "balancer-access | ")  # it follows from now on
        session.get(f"{fleet.url}/livez?followed", timeout=5)
        wait_for_line(process, "/livez?followed")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
