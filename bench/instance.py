"""Starts one instance for a measurement and stops it afterwards."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from framefleet.ports import reserved_ports

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
            _wait(f"http://127.0.0.1:{port}/readyz", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"the instance ended with {process.returncode}; run `python -m service` to see why")
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"the instance is not ready after {START_LIMIT_S} s")
