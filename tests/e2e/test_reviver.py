"""The reviver under a real supervisord, with programs that fail in known ways."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from deploy.guard.listener import ACCESS_LOG_BYTES, make_tell
from deploy.guard.reviver import Act
from deploy.machine.control import Control
from deploy.paths import Paths, local_paths
from tests.e2e.fleet import ROOT, LocalFleet, ready, wait_until

pytestmark = pytest.mark.e2e

LIMITS = {"first_delay_s": 1, "last_delay_s": 2, "crashes": 3, "window_s": 60, "first_hold_s": 1}
PROGRAM = """
[program:{name}]
command={command}
startsecs={startsecs}
startretries=0
autorestart=true
exitcodes=72
"""


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    paths = local_paths(tmp_path.resolve())
    for folder in paths.folders():
        folder.mkdir(exist_ok=True)
    conf = tmp_path / "supervisord.conf"
    mended = tmp_path / "mended"
    listener = [
        sys.executable,
        "-m",
        "deploy.guard.listener",
        *map(str, (paths.state, paths.etc, paths.run, paths.log)),
    ]
    programs = [
        ("broken", f"/bin/sh -c 'test -e {mended} && exec sleep 600'", 2),
        ("looping", "/bin/sh -c 'sleep 0.3; exit 1'", 0),
        ("draining", "/bin/sh -c 'sleep 0.3; exit 72'", 0),
        ("steady", "sleep 600", 0),
    ]
    conf.write_text(
        f"""
[supervisord]
directory={ROOT}
logfile={paths.log}/supervisord.log
pidfile={paths.supervisor_pid}
{"user=root" if os.getuid() == 0 else ""}
nodaemon=true
[unix_http_server]
file={paths.supervisor_socket}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[eventlistener:reviver]
command={" ".join(listener)} --limits '{json.dumps(LIMITS, separators=(",", ":"))}'
events=PROCESS_STATE_EXITED,PROCESS_STATE_FATAL,TICK_5
stderr_logfile={paths.log_of("reviver")}
"""
        + "".join(PROGRAM.format(name=name, command=command, startsecs=s) for name, command, s in programs)
    )
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(conf)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as supervisord:
        try:
            yield paths
        finally:
            supervisord.terminate()


def told(paths: Paths) -> list[tuple[str, str]]:
    log = paths.log_of("reviver")
    entries = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [(entry["kind"], entry["program"]) for entry in entries]


def test_a_fatal_program_comes_back_once_its_cause_is_gone_and_a_loop_is_broken(paths: Paths) -> None:
    wait_until("the loop held", lambda: ("stop", "looping") in told(paths))
    wait_until("the loop tried again", lambda: ("start", "looping") in told(paths))
    wait_until("the one that ends as it should told", lambda: ("alert", "draining") in told(paths))
    wait_until("FATAL reported", lambda: ("alert", "broken") in told(paths))
    (paths.state / "mended").touch()
    wait_until("FATAL started again", lambda: ("start", "broken") in told(paths))
    with Control(paths) as control:
        wait_until("it runs", lambda: control.states()["broken"].state == "RUNNING")
        assert control.states()["steady"].state == "RUNNING"
    assert {program for _, program in told(paths)} == {"looping", "broken", "draining"}
    assert ("stop", "draining") not in told(paths)


def test_a_reviver_that_cannot_write_says_so_once_and_goes_on(paths: Paths) -> None:
    wait_until("the fleet page's file", paths.programs_json.exists)
    paths.programs_json.unlink()
    paths.programs_json.mkdir()
    wait_until("the failure told", lambda: ("alert", "reviver") in told(paths))
    wait_until("a crash loop broken all the same", lambda: ("stop", "looping") in told(paths))
    paths.programs_json.rmdir()
    wait_until("the file written again", paths.programs_json.is_file)
    assert told(paths).count(("alert", "reviver")) == 1


def test_a_webhook_gets_what_the_log_gets(tmp_path: Path) -> None:
    bodies: list[bytes] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server, (tmp_path / "log").open("w") as log:
        thread = Thread(target=server.handle_request)
        thread.start()
        make_tell(f"http://127.0.0.1:{server.server_port}/", log)(Act("alert", "gpu1", "FATAL"))
        thread.join(30)
    assert json.loads(bodies[0])["text"].endswith(": gpu1: FATAL")
    logged = json.loads((tmp_path / "log").read_text())
    assert {key: logged[key] for key in json.loads(bodies[0])} == json.loads(bodies[0])


def test_an_access_log_that_has_grown_is_set_aside_and_nginx_goes_on_in_a_new_one(fleet: LocalFleet) -> None:
    log, before = fleet.paths.access_log, fleet.pids()
    os.truncate(log, ACCESS_LOG_BYTES + 1)
    wait_until("it is set aside", log.with_name(f"{log.name}.1").exists)
    wait_until("a request is in the new one", lambda: ready(fleet.url) and log.exists() and log.stat().st_size > 0)
    assert log.stat().st_size < ACCESS_LOG_BYTES
    assert fleet.pids() == before


def test_an_access_log_that_somebody_moved_is_written_on_under_its_own_name(fleet: LocalFleet) -> None:
    log = fleet.paths.access_log
    log.rename(log.with_name("moved"))
    log.touch()
    wait_until("a request is in the new one", lambda: ready(fleet.url) and log.stat().st_size > 0)


def test_logs_that_are_deleted_begin_anew(fleet: LocalFleet) -> None:
    logs, before = [fleet.paths.access_log, *map(fleet.paths.log_of, ("cpu0", "supervisord"))], fleet.pids()
    for log in logs:
        log.unlink()
    wait_until("all are back", lambda: all(log.exists() for log in logs))
    wait_until("a request is in the new one", lambda: ready(fleet.url) and fleet.paths.access_log.stat().st_size > 0)
    os.kill(fleet.worker_pid(0), signal.SIGKILL)
    wait_until(
        "its death is in the new ones", lambda: "cpu0" in fleet.log("cpu0") and "cpu0" in fleet.log("supervisord")
    )
    wait_until("ready again", lambda: ready(fleet.instance_url(0)))
    assert {name for name, pid in fleet.pids().items() if pid == before[name]} >= {"cpu1", "balancer", "reviver"}
