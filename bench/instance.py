"""Starts one instance for a measurement and stops it afterwards."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from framefleet.ports import reserved_ports
from framefleet.session import open_session

START_LIMIT_S = 60


@contextmanager
def instance(**settings: object) -> Iterator[str]:
    """Runs one instance on a free port.

    Args:
        settings: the service's settings by their lower-case names.

    Yields:
        Its URL, once it answers.
    """
    with reserved_ports() as port:
        names = {"port": port, "instance": "bench", **settings}
        environment = {**os.environ, **{f"FRAMEFLEET_{name.upper()}": str(value) for name, value in names.items()}}
        process = subprocess.Popen([sys.executable, "-m", "service"], env=environment, stderr=subprocess.DEVNULL)
        try:
            with open_session() as session:
                _wait(f"http://127.0.0.1:{port}/readyz", process, session)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _wait(url: str, process: "subprocess.Popen[bytes]", session: requests.Session) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"the instance ended with {process.returncode}; run `python -m service` to see why")
        try:
            session.get(url, timeout=2).raise_for_status()
        except requests.RequestException:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"the instance is not ready after {START_LIMIT_S} s")
