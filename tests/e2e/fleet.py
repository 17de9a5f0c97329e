"""A fleet of its own for a test: drives `python -m deploy` as a person does, and leaves nothing running."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import requests

from deploy.machine.control import Control, ProgramState
from deploy.machine.processes import Process, fleet_processes
from deploy.paths import Paths, local_paths
from framefleet.machine.ports import reserved_ports

ROOT = Path(__file__).resolve().parents[2]
SIMULATED = "simulated:a_ms=2,b_ms=0.1"
COMMAND_LIMIT_S = 120


@dataclass(frozen=True, slots=True)
class LocalFleet:
    """Where a test's fleet lives; `model` is what `up` starts unless told otherwise, on `own` CPUs for each."""

    var: Path
    port: int
    instance_port: int
    model: str = SIMULATED
    own: str = "auto"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def paths(self) -> Paths:
        return local_paths(self.var)

    def instance_url(self, index: int) -> str:
        return f"http://127.0.0.1:{self.instance_port + index}"

    def options(self, instances: int = 2) -> tuple[str, ...]:
        ports = ("--port", str(self.port), "--instance-port", str(self.instance_port))
        instances_on = ("--instances", str(instances), "--cpus-per-instance", self.own)
        return ("--var", str(self.var), *instances_on, "--model", self.model, *ports)

    def run(self, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        """Runs one verb to its end; `settings` are FRAMEFLEET_* names in lower case."""
        return subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            env=clean_environment(**settings),
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "deploy", *arguments]

    def up(self, instances: int = 2, **settings: str) -> str:
        done = self.run("up", *self.options(instances), **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def down(self) -> str:
        done = self.run("down", "--var", str(self.var))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def states(self) -> dict[str, ProgramState]:
        with Control(self.paths, timeout_s=10) as control:
            return control.states()

    def pids(self) -> dict[str, int]:
        return {name: state.pid for name, state in self.states().items()}

    def worker_pid(self, index: int) -> int:
        with direct_session() as session:
            return int(session.get(f"{self.instance_url(index)}/status", timeout=5).json()["pid"])

    def processes(self) -> tuple[Process, ...]:
        return fleet_processes(self.paths)

    def log(self, name: str) -> str:
        return self.paths.log_of(name).read_text()

    def with_model(self, model: str) -> "LocalFleet":
        return replace(self, model=model)


@contextmanager
def local_fleet(var: Path) -> Iterator[LocalFleet]:
    """Ports and a folder for a fleet; whatever was started there is gone afterwards."""
    with reserved_ports(6) as port:
        fleet = LocalFleet(var.resolve(), port, port + 1)
        try:
            yield fleet
        finally:
            with suppress(subprocess.TimeoutExpired):
                fleet.run("down", "--var", str(fleet.var))
            for process in fleet.processes():
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)


def clean_environment(**settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FRAMEFLEET_")}
    # Scaling must not change the thread budget of instances that are to stay.
    given = {"threads": "1", **settings}
    return kept | {f"FRAMEFLEET_{name.upper()}": value for name, value in given.items()}


def direct_session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    return session


@contextmanager
def background(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """Runs a command in a process group of its own; the group is gone afterwards, or after the limit."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, text=True, start_new_session=True
    )

    def kill_group() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    limit = threading.Timer(COMMAND_LIMIT_S, kill_group)
    limit.start()
    try:
        yield process
    finally:
        limit.cancel()
        kill_group()
        with process:
            process.wait()


def wait_for_line(process: "subprocess.Popen[str]", part: str) -> None:
    """Reads what a background command prints until a line contains `part`; its end ends the wait too."""
    assert process.stdout
    assert any(part in line for line in process.stdout), f"no line with {part!r}"


def wait_until(what: str, holds: Callable[[], bool], limit_s: float = 60) -> None:
    """Polls until something holds; fails the test if it does not within the limit."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        time.sleep(0.05)


def ready(url: str) -> bool:
    with direct_session() as session:
        try:
            return bool(session.get(f"{url}/readyz", timeout=2).ok)
        except requests.RequestException:
            return False
