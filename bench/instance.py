"""Starts one instance for a measurement and stops it afterwards."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import requests

from framefleet.http.session import open_session
from framefleet.machine.ports import reserved_ports

START_LIMIT_S = 60


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers at `url`, whose first process is `pid`."""

    url: str
    pid: int


@contextmanager
def instance(**settings: object) -> Iterator[str]:
    """Runs one instance like `running` and yields its URL."""
    with running(**settings) as started:
        yield started.url


@contextmanager
def running(**settings: object) -> Iterator[Running]:
    """Runs one instance on a free port.

    Args:
        settings: the service's settings by their lower-case names.

    Yields:
        It, once it answers.
    """
    with reserved_ports() as port:
        names = {"port": port, "instance": "bench", **settings}
        environment = {f"FRAMEFLEET_{name.upper()}": str(value) for name, value in names.items()}
        url = f"http://127.0.0.1:{port}"
        with started([sys.executable, "-m", "service"], url, environment) as server:
            yield server


@contextmanager
def started(command: Sequence[str], url: str, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Runs a server for a measurement.

    Args:
        command: what runs it.
        url: where it will answer `/readyz`.
        environment: beside this process's own.

    Yields:
        It, once it answers.
    """
    process = subprocess.Popen(command, env={**os.environ, **(environment or {})}, stderr=subprocess.DEVNULL)
    try:
        with open_session() as session:
            _wait(url, command, process, session)
        yield Running(url, process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait(url: str, command: Sequence[str], process: "subprocess.Popen[bytes]", session: requests.Session) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"it ended with {process.returncode}; run `{shlex.join(command)}` to see why")
        try:
            session.get(f"{url}/readyz", timeout=2).raise_for_status()
        except requests.RequestException:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"{url}: not ready after {START_LIMIT_S} s")
