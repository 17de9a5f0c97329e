"""A checkout that several users of one machine run, for tests as root: real users, real processes, real files."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

ROOT_USER, OWNER, STRANGER = 0, 65534, 54321
PACKAGES = ("framefleet", "service", "deploy")
SITE = next(Path(entry) for entry in sys.path if entry.endswith("site-packages"))
LIMIT_S = 120


def python_for_everybody() -> str:
    """An interpreter of this version that others than root can run, with our packages; empty if there is none."""
    become = "import os, sys; os.setuid(65534); os.execv(sys.argv[1], sys.argv[1:])"
    version = ".".join(map(str, sys.version_info[:2]))
    for candidate in (sys.executable, f"/usr/bin/python{version}"):
        done = subprocess.run(
            [sys.executable, "-c", become, candidate, "-c", "import cv2, flask, supervisor"],
            env={"PYTHONPATH": str(SITE)},
            cwd="/",
            capture_output=True,
            check=False,
            timeout=LIMIT_S,
        )
        if done.returncode == 0:
            return candidate
    return ""


@dataclass(frozen=True, slots=True)
class Checkout:
    """Code in a folder that everybody may enter, and where its fleet listens."""

    folder: Path
    port: int
    instance_port: int

    @property
    def var(self) -> Path:
        return self.folder / "var"

    @property
    def up(self) -> tuple[str, ...]:
        ports = ("--port", str(self.port), "--instance-port", str(self.instance_port))
        return ("--instances", "1", "--model", "simulated:a_ms=1", *ports)

    def give(self, user: int) -> None:
        subprocess.run(["chown", "-R", f"{user}:{user}", self.folder], check=True)

    def run(self, user: int, *arguments: str, umask: int = 0o022) -> "subprocess.CompletedProcess[str]":
        """Runs `python -m ARGUMENTS` in the checkout as a user; a traceback on the terminal is never right."""
        account = {} if user == ROOT_USER else {"user": user, "group": user, "extra_groups": []}
        done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
            [self.folder / ".venv/bin/python", "-m", *arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": "/tmp"},
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
            umask=umask,
            **account,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return done


@contextmanager
def checkout(python: str, port: int, instance_port: int) -> Iterator[Checkout]:
    """A copy of the code that belongs to `OWNER`, below /tmp: pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory(prefix="users-", dir="/tmp") as top:
        os.chmod(top, 0o755)
        folder = Path(top) / "its own"
        for package in PACKAGES:
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "Makefile", folder)
        subprocess.run([python, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
        for packages in folder.glob(".venv/lib/python*/site-packages"):
            (packages / "shared.pth").write_text(f"{SITE}\n")
        made = Checkout(folder, port, instance_port)
        made.give(OWNER)
        try:
            yield made
        finally:
            made.run(ROOT_USER, "deploy", "down")
