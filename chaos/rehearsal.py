"""A fleet of its own for a rehearsal: a copy of the code whose engines take cues, run by `python -m deploy`.

The copy differs from the code it is made of in a few places, so that production has no switch for faults:
gunicorn's worker is `cued_worker.py`, supervisord's clock is `jumping_clock.py` (and the instances'), a program is
FATAL after 3 retries instead of 20, and the reviver starts it again after 5 s instead of 60.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from chaos.machine import belongs, listening, processes, small_disk
from chaos.web import get_json
from framefleet.machine.ports import reserved_ports

REPO = Path(__file__).resolve().parent.parent
COMMAND_LIMIT_S = 300.0
DISK_BYTES = 64 * 2**20
KILL_ROUNDS, KILL_PAUSE_S = 50, 0.1
# The ceiling is one that an instance can be driven over by itself.
SETTINGS = {"FRAMEFLEET_THREADS": "1", "FRAMEFLEET_MAX_MEMORY_MB": "1000"}
EDITS = {
    "service/server/gunicorn.conf.py": ('"service.server.worker.DetectorWorker"', '"chaos.cued_worker.CuedWorker"'),
    "deploy/supervisor/supervisord.conf.j2": (
        "; For people:",
        "[rpcinterface:clock]\nsupervisor.rpcinterface_factory=chaos.jumping_clock:make\n"
        "file={{ (fleet.code.repo / 'cues' / 'clock') | supervisor }}\n\n; For people:",
    ),
    # What tries those files is isolated from the folder it is called from, where the clock lies.
    "deploy/checks/config_check.py": ('PARSE = "import sys; ', "PARSE = \"import sys; sys.path.insert(0, ''); "),
    "deploy/supervisor/instance.conf.j2": ("startretries=20", "startretries=3"),
    "deploy/supervisor/reviver.conf.j2": (
        "{{ paths.log | argument }}\ndirectory",
        "{{ paths.log | argument }} --limits '{\"first_delay_s\":5}'\ndirectory",
    ),
}


class ChaosError(Exception):
    """The rehearsal itself could not go on, or something it promises did not hold; the message says what."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance: its `name` and where it answers."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Where a rehearsal's fleet lives.

    Attributes:
        folder: holds the copy of the code and the fleet's files.
        port: of the balancer; the instances' follow.
        model: path or `simulated:...`.
        count: instances.
        settings: the instances' own, as environment variables.
    """

    folder: Path
    port: int
    model: str
    count: int
    settings: Mapping[str, str]

    @property
    def code(self) -> Path:
        """The copy of the code."""
        return self.folder / "code"

    @property
    def var(self) -> Path:
        """Everything the fleet writes."""
        return self.folder / "var"

    @property
    def log(self) -> Path:
        """One log file per program."""
        return self.var / "log"

    @property
    def url(self) -> str:
        """The balancer."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def instances(self) -> tuple[Instance, ...]:
        """As the fleet's record has them."""
        record = json.loads((self.var / "etc" / "fleet.json").read_text())
        return tuple(Instance(i["name"], f"http://{i['host']}:{i['port']}") for i in record["instances"])

    def deploy(self, *arguments: str, ok: bool = True, settings: Mapping[str, str] | None = None) -> str:
        """Runs a verb of `python -m deploy`; returns what it printed.

        Args:
            arguments: the verb and its own.
            ok: whether it should succeed.
            settings: of the instances, beside the rehearsal's own.

        Raises:
            ChaosError: it failed, or with `ok=False` it did not.
        """
        done = subprocess.run(
            [sys.executable, "-m", "deploy", *arguments],
            cwd=self.code,
            env=_environment({**self.settings, **(settings or {})}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )
        if (done.returncode == 0) != ok:
            raise ChaosError(f"deploy {' '.join(arguments)}: exit code {done.returncode}: {done.stdout.strip()[-500:]}")
        return done.stdout

    def up(self, count: int | None = None, *, ok: bool = True, settings: Mapping[str, str] | None = None) -> str:
        """Starts or changes the fleet."""
        ports = ("--port", str(self.port), "--instance-port", str(self.port + 1))
        size = ("--instances", str(count or self.count))
        return self.deploy("up", "--var", str(self.var), *size, "--model", self.model, *ports, ok=ok, settings=settings)

    def down(self) -> tuple[str, ...]:
        """Stops the fleet; returns what it left behind, which should be nothing."""
        self.deploy("down", "--var", str(self.var))
        left = [f"process {process.pid} ({process.name})" for process in processes() if belongs(process, self.var)]
        ports = listening()
        left += [f"port {port}" for port in range(self.port, self.port + 1 + self.count) if port in ports]
        left += [f"socket {path.name}" for path in (self.var / "run").iterdir() if path.is_socket()]
        return tuple(left)

    def cue(self, instance: Instance, words: str) -> None:
        """Tells an instance's engine to fail in some way."""
        (self.code / "cues" / instance.name).write_text(words)

    def uncue(self, instance: Instance) -> None:
        """Takes a cue back."""
        (self.code / "cues" / instance.name).unlink(missing_ok=True)

    def set_clock(self, offset_s: int) -> None:
        """Lets the clock of supervisord and the instances jump, to so far from the real one."""
        (self.code / "cues" / "clock").write_text(str(offset_s))

    def worker(self, instance: Instance) -> int:
        """Process id of an instance's gunicorn worker; 0 if it does not answer."""
        return int(get_json(f"{instance.url}/status").get("pid", 0))

    def ready(self) -> bool:
        """Whether the balancer and every instance answer, each for itself."""
        answers = [get_json(f"{instance.url}/readyz").get("instance") == instance.name for instance in self.instances]
        return all(answers) and get_json(f"{self.url}/readyz").get("status") == "ready"

    def pid_of(self, program: str) -> int:
        """Process id that supervisord or nginx wrote down; 0 if there is none."""
        try:
            return int((self.var / "run" / f"{program}.pid").read_text())
        except (FileNotFoundError, ValueError):
            return 0


@contextmanager
def rehearsal(folder: Path, model: str, count: int, *, cued: bool = True) -> Iterator[Rehearsal]:
    """Makes the copy and starts the fleet; nothing of it runs afterwards.

    Args:
        folder: a new one.
        model: path or `simulated:...`.
        count: instances.
        cued: False for the code and the settings as they are, and the disk as large as it is.
    """
    with ExitStack() as stage:
        port = stage.enter_context(reserved_ports(count + 2))
        place = Rehearsal(folder.resolve(), port, model, count, SETTINGS if cued else {})
        _copy_code(place)
        if cued:
            _let_it_fail(place)
            for small in (place.log, place.var / "tmp", place.var / "run"):
                stage.enter_context(small_disk(small, DISK_BYTES))
        try:
            place.up()
            yield place
        finally:
            with suppress(ChaosError, subprocess.TimeoutExpired):
                place.deploy("down", "--var", str(place.var))
            _kill_the_rest(place.var)


def _kill_the_rest(folder: Path) -> None:
    # What dies last may have been starting another one.
    for _ in range(KILL_ROUNDS):
        left = [process for process in processes() if belongs(process, folder)]
        if not left:
            return
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(KILL_PAUSE_S)


def _copy_code(place: Rehearsal) -> None:
    code = place.code
    for package in ("framefleet", "service", "deploy"):
        shutil.copytree(REPO / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))


def _let_it_fail(place: Rehearsal) -> None:
    code = place.code
    (code / "cues").mkdir()
    # Programs are started in the code's folder, supervisord in the fleet's.
    for folder in (code, place.var):
        (folder / "chaos").mkdir(parents=True)
        for module in ("__init__.py", "cued_worker.py", "jumping_clock.py"):
            shutil.copy(REPO / "chaos" / module, folder / "chaos")
    for name, (old, new) in EDITS.items():
        file = code / name
        text = file.read_text()
        if old not in text:
            raise ChaosError(f"{name}: {old!r} is not in it any more; correct chaos/rehearsal.py")
        file.write_text(text.replace(old, new))


def _environment(settings: Mapping[str, str]) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FRAMEFLEET_")}
    return {**kept, **settings}
