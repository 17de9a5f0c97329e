"""Starts one real instance (gunicorn and all) for a test, and stops it whatever happens."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT_S = 120
CONF = "service/server/gunicorn.conf.py"
WORKER = "service.server.worker.DetectorWorker"


@dataclass(frozen=True, slots=True)
class RunningInstance:
    """One instance: its gunicorn master, where it listens and what it logs."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path

    def worker_pid(self) -> int:
        return int(requests.get(f"{self.url}/status", timeout=START_LIMIT_S).json()["pid"])

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the instance ended with {self.process.returncode}:\n{self.log.read_text()}")
            try:
                requests.get(f"{self.url}/readyz", timeout=5)
            except (requests.ConnectionError, requests.Timeout):
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"the instance is not ready after {START_LIMIT_S} s:\n{self.log.read_text()}")


def start_instance(
    port: int, model: str | Path, log: Path, worker: str = WORKER, **settings: object
) -> RunningInstance:
    """Starts an instance without waiting for it; `settings` are its lower-case names, `worker` its class."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FRAMEFLEET_")}
    given = {"model": model, "port": port, "instance": "tested", "threads": 1, **settings}
    environment |= {f"FRAMEFLEET_{name.upper()}": str(value) for name, value in given.items()}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", CONF, "-k", worker],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return RunningInstance(process, f"http://127.0.0.1:{port}", log)


def listens(port: int) -> bool:
    """Whether anybody takes connections to a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(what: str, holds: Callable[[], bool], limit_s: float = START_LIMIT_S) -> None:
    """Polls until something holds; fails the test if it never does."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        time.sleep(0.01)


@contextmanager
def running_instance(
    port: int, model: str | Path, log: Path, worker: str = WORKER, **settings: object
) -> Iterator[RunningInstance]:
    """An instance that is ready; its whole process group is gone afterwards."""
    instance = start_instance(port, model, log, worker, **settings)
    try:
        instance.wait_until_ready()
        yield instance
    finally:
        stop_instance(instance)


def stop_instance(instance: RunningInstance) -> None:
    instance.process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            instance.process.wait(20)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(instance.process.pid, signal.SIGKILL)
        instance.process.wait(10)
