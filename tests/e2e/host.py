"""A scratch host: a host's folders below a temporary one, releases made by copying, and the real recipes."""

import getpass
import grp
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.describe.fleet_file import parse_inventory
from deploy.fleet import PREFIX
from deploy.machine.control import Control
from deploy.machine.processes import fleet_processes
from deploy.paths import Paths
from framefleet.machine.ports import reserved_ports
from tests.e2e.fleet import SIMULATED

ROOT = Path(__file__).resolve().parents[2]
DRIVER = Path(__file__).with_name("host_driver.py")
COMMAND_LIMIT_S = 240
NEVER = "-"


@dataclass(frozen=True, slots=True)
class ScratchHost:
    """One host. `port` is nginx's, instances follow."""

    folder: Path
    run: Path
    port: int

    @property
    def install(self) -> Path:
        return self.folder / "opt"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def paths(self) -> Paths:
        return parse_inventory(self.inventory()).folders.paths

    def inventory(self, settings: str = "", cpu: int = 2, model: str = SIMULATED) -> str:
        group = grp.getgrgid(os.getgid()).gr_name
        return f"""
[model]
file = "{model}"
[settings]
threads = 1
{settings}
[balancer]
address = "127.0.0.1"
port = {self.port}
[ports]
first = {self.port + 1}
last = {self.port + 5}
[system]
user = "{getpass.getuser()}"
group = "{group}"
nginx = "{shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")}"
open_files = 4096
[folders]
install = "{self.install}"
etc = "{self.folder / "etc"}"
state = "{self.folder / "state"}"
run = "{self.run}"
log = "{self.folder / "log"}"
[[hosts]]
name = "here"
cpu = {cpu}
# Scaling must not change the CPUs of instances that are to stay.
cpus_per_instance = 0
"""

    def make_release(self, picture: bytes, changes: Mapping[str, str] | None = None) -> str:
        """Copies this checkout's code as the newest release; `changes` are lines appended to files of it."""
        releases = self.install / "releases"
        releases.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(path.name.rpartition("r")[2]) for path in releases.iterdir()), default=0)
        release_id = f"20260101T{number:06}Z-r{number}"
        folder = releases / release_id
        for package in ("framefleet", "service", "deploy"):
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "venv").symlink_to(sys.prefix)
        (folder / "golden.jpg").write_bytes(picture)
        record = {"id": release_id, "created": "2026-01-01T00:00:00Z", "python": "3", "machine": "any"}
        (folder / "release.json").write_text(json.dumps(record))
        for name, text in (changes or {}).items():
            with (folder / name).open("a") as file:
                file.write(text)
        (folder / "built").touch()
        return release_id

    def verb(
        self, release_id: str, verb: str, *arguments: str, died_at: str = NEVER
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a verb of a release's command line to its end, or until it says a line that starts with `died_at`."""
        return subprocess.run(
            self.command(release_id, verb, *arguments, died_at=died_at),
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )

    def command(self, release_id: str, verb: str, *arguments: str, died_at: str = NEVER) -> list[str]:
        release = str(self.install / "releases" / release_id)
        return [sys.executable, str(DRIVER), release, died_at, verb, *arguments]

    def deploy(
        self, release_id: str, inventory: str | None = None, *options: str, died_at: str = NEVER
    ) -> tuple[int, str]:
        """Deploys; gives exit code and output."""
        given: tuple[str, ...] = ()
        if inventory is not None:
            file = self.folder / "given.toml"
            file.write_text(inventory)
            given = ("--fleet", str(file))
        done = self.verb(release_id, "deploy", *given, *options, died_at=died_at)
        return done.returncode, done.stdout

    def pids(self) -> dict[str, int]:
        with Control(self.paths, timeout_s=10) as control:
            return {name: state.pid for name, state in control.states().items()}

    def current(self) -> str:
        return (self.install / "current").readlink().name


@contextmanager
def scratch_host(folder: Path) -> Iterator[ScratchHost]:
    """A host's folders and ports; whatever was started there is gone afterwards."""
    with reserved_ports(8) as port:
        host = ScratchHost(folder.resolve(), Path(f"/run/framefleet-test-{os.getpid()}-{port}"), port)
        try:
            yield host
        finally:
            for _ in range(2):  # the second time for what was just being started
                for process in fleet_processes(host.paths):
                    try:
                        os.kill(process.pid, 9)
                    except ProcessLookupError:
                        continue
            shutil.rmtree(host.run, ignore_errors=True)
