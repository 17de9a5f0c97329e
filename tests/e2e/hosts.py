"""The nginx of one host of an inventory, run for real; other hosts are HTTP servers on other loopback addresses."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from deploy.files.render import render
from deploy.fleet import Fleet
from deploy.machine import run
from deploy.paths import local_paths
from tests.deploy.inventories import NO_GPU, expanded
from tests.e2e.fleet import wait_until


@dataclass
class OtherHost:
    """What another host's nginx answers, how often it was asked for a detection, and how; it waits for the gate."""

    name: str
    status: int = 200
    asked: int = field(default=0)
    gate: threading.Event | None = None
    checks: list[str | None] = field(default_factory=list)

    @contextmanager
    def listening(self, address: str, port: int) -> Iterator["OtherHost"]:
        """Answers every request with its status and its name until left."""
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                host.checks.append(self.headers["X-Key-Check"])
                host.asked += 1
                if host.gate:
                    host.gate.wait(30)
                self._answer()

            def do_GET(self) -> None:
                self._answer()

            def _answer(self) -> None:
                self.send_response(host.status)
                self.send_header("Content-Length", str(len(host.name)))
                self.end_headers()
                self.wfile.write(host.name.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        with ThreadingHTTPServer((address, port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


@contextmanager
def nginx_of(inventory: str, folder: Path, host: str = "h1", drained: tuple[str, ...] = ()) -> Iterator[Fleet]:
    """Runs one host's nginx, on its files as they are rendered, below `folder`."""
    fleet = expanded(inventory, host, NO_GPU, drained=drained)
    with nginx_alone(replace(fleet, paths=local_paths(folder), machine=run.host_facts(None, os.environ))):
        yield fleet


@contextmanager
def nginx_alone(fleet: Fleet) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs the nginx of a fleet whose instances are somebody else's concern; its log is `nginx.log`."""
    run.make_folders(fleet.paths)
    run.write_files(fleet.paths.etc, render(fleet))
    log = fleet.paths.state / "nginx.log"
    with log.open("wb") as output:
        process = subprocess.Popen([fleet.machine.nginx, "-c", fleet.paths.nginx_conf], stdout=output, stderr=output)
    try:
        # It writes its pid once it listens.
        wait_until("nginx listens", lambda: process.poll() is not None or fleet.paths.nginx_pid.exists())
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        process.terminate()
        process.wait()
