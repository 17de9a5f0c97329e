"""The commands of the README, in a folder with a difficult name and an environment that is meant for other programs."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest

from deploy.machine.run import INHERITED, INHERITED_PREFIXES
from tests.e2e.fleet import LocalFleet, local_fleet
from tests.tools.checkout import ROOT, outside_make

pytestmark = pytest.mark.e2e
BROKEN = "raise SystemExit('a module of PYTHONPATH was imported')\n"
LOCUST = (
    "users = 3\nheadless = false\nautostart = true\nrun-time = 1\nlocustfile = /no/such/file.py\nloglevel = ERROR\n"
)
PIP = "[global]\nuser = true\nquiet = 1\n[install]\ntarget = /elsewhere\n"


@dataclass(frozen=True, slots=True)
class Place:
    """A checkout, the fleet that runs in it, and the environment that its commands are typed in."""

    folder: Path
    fleet: LocalFleet
    environ: dict[str, str]

    def shell(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            umask=0o077,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )

    def make(self, *arguments: str) -> str:
        """What a target prints; it has to succeed."""
        done = self.shell("make", *arguments)
        assert done.returncode == 0, f"make {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def up(self, *more: str) -> str:
        return self.make("up", f"PORT={self.fleet.port}", f"INSTANCE_PORT={self.fleet.instance_port}", *more)


def copy_checkout(folder: Path) -> None:
    """What git knows or would add, set up already: the packages of this checkout, its models and its videos."""
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith((".venv", "var")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to((ROOT / ".venv").resolve())
    for name in ("models", "video", "cache"):
        shutil.copytree(ROOT / "var" / name, folder / "var" / name)


def hostile_environment(outside: Path) -> dict[str, str]:
    """What shells, conda, WSL and other programs' settings put there."""
    home, modules = outside / "home", outside / "modules"
    for name in ("json.py", "numpy.py", "requests.py", "supervisor.py", "gunicorn.py", "locust.py", "sitecustomize.py"):
        modules.mkdir(exist_ok=True)
        (modules / name).write_text(BROKEN)
    (home / ".config/pip").mkdir(parents=True)
    (home / ".config/pip/pip.conf").write_text(PIP)
    (home / ".locust.conf").write_text(LOCUST)
    (home / ".netrc").write_text("machine 127.0.0.1 login someone password secret\n")
    (outside / "bash_env").write_text("cd /; grep() { false; }\n")
    (outside / "tmp folder").mkdir()
    plain = {name: value for name, value in outside_make().items() if not name.lower().endswith("_proxy")}
    kept = {name: value for name, value in plain.items() if not name.startswith(("FRAMEFLEET_", "PIP_"))}
    given = ("MODEL", "VIDEO", "URL", "VAR", "FPS", "SECONDS", "KEYS", "BATCH", "ARGS", "FLEET", "INSTALL", "CAMERAS")
    return {
        **kept,
        **{name: f"/no/such/{name}" for name in given},
        "HOST": "x86_64-conda-linux-gnu",
        "NAME": "DESKTOP-1",
        "PORT": "1",
        "PYTHON": "/no/such/python",
        "HOME": str(home),
        "PYTHONPATH": str(modules),
        "PYTHONHOME": "/no/such/python",
        "PYTHONWARNINGS": "error",
        "PIP_USER": "1",
        "PIP_QUIET": "1",
        **dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9"),
        "LC_ALL": "C",
        "CDPATH": "/usr",
        "GREP_OPTIONS": "-v",
        "BASH_ENV": str(outside / "bash_env"),
        "MAKEFLAGS": "-j8",
        "TMPDIR": str(outside / "tmp folder"),
        "CONDA_PREFIX": "/no/such/conda",
        "VIRTUAL_ENV": "/no/such/venv",
        "GUNICORN_CMD_ARGS": "--bind 127.0.0.1:1",
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    outside = tmp_path_factory.mktemp("env")
    folder = outside / "Acme, Inc (1)" / "it's"
    copy_checkout(folder)
    with local_fleet(folder / "var") as fleet:
        yield Place(folder, fleet, hostile_environment(outside))


def test_a_fleet_is_set_up_started_used_and_stopped(place: Place) -> None:
    assert place.make("setup").splitlines()[-1] == "setup: done; next: make demo"
    assert f"behind {place.fleet.url}" in place.up()
    assert "balancer" in place.make("status")
    assert place.make("smoke").splitlines()[-1] == "smoke: every answer was right"
    frame = place.folder / "frame.jpg"
    frame.write_bytes(cv2.imencode(".jpg", first_frame(place))[1].tobytes())
    for route in ("v1/detect", "predict"):
        # curl, unlike our own commands, has to be told of what is not to go through a proxy.
        done = place.shell("curl", "-sS", "--noproxy", "*", "--data-binary", "@frame.jpg", f"{place.fleet.url}/{route}")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)
    assert "nothing had to change" in place.up()
    assert "ended" in place.make("down")
    assert place.fleet.processes() == ()


def test_a_clip_is_detected_and_replayed(place: Place) -> None:
    clip = place.folder / "it's my clip (1) & co.mp4"
    shutil.copy(place.folder / "var/video/carphone_pristine.mp4", clip)
    place.up("INSTANCES=1")
    try:
        place.make("detect", f"VIDEO={clip.name}", f"PORT={place.fleet.port}")
        assert cv2.VideoCapture(str(place.folder / "var/detect.mp4")).read()[0]
        # On a busy machine the load comes late, and the verdict is that the run does not count.
        done = place.shell("make", "replay", f"VIDEO={clip.name}", f"PORT={place.fleet.port}", "CAMERAS=1", "SECONDS=3")
        assert "report: var/report/index.html" in done.stdout, done.stdout + done.stderr
    finally:
        place.make("down")


def test_the_demo_is_made(place: Place) -> None:
    ports = (f"PORT={place.fleet.port}", f"INSTANCE_PORT={place.fleet.instance_port}")
    done = place.shell("make", "demo", *ports, "INSTANCES=1", "CAMERAS=1", "SECONDS=3")
    assert "report: var/report/index.html" in done.stdout, done.stdout + done.stderr
    assert place.fleet.processes() == ()


def test_keys_certificates_and_a_fleets_files_are_made(place: Place) -> None:
    place.make("key", "NAME=camera-hall")
    assert (place.folder / "var/keys").read_text().startswith("camera-hall:")
    place.make("certificate", "NAME=edge1")
    assert (place.folder / "var/tls/fullchain.pem").exists()
    shutil.copy(place.folder / "deploy/fleet.example.toml", place.folder / "fleet.toml")
    assert "build/monitoring/rules.yml" in place.make("render")
    place.make("config-check")


def test_what_serves_has_nothing_of_the_callers_environment(place: Place) -> None:
    place.up("INSTANCES=1")
    try:
        for process in place.fleet.processes():
            raw = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            given = dict(os.fsdecode(entry).split("=", 1) for entry in raw if b"=" in entry)
            kept = {name for name in given if name in INHERITED or name.startswith(INHERITED_PREFIXES)}
            same = {name for name, value in place.environ.items() if value and given.get(name) == value}
            assert same - kept <= {"PYTHONUNBUFFERED", "PYTHONUTF8"}  # which are ours, and make's too
            assert {name for name in given if name.startswith("PYTHON")} <= {"PYTHONUTF8", "PYTHONUNBUFFERED"}
    finally:
        place.make("down")


def first_frame(place: Place) -> cv2.typing.MatLike:
    read, frame = cv2.VideoCapture(str(place.folder / "var/video/carphone_pristine.mp4")).read()
    assert read
    return frame
