"""Throw-away virtual environments of the peers, kept between runs while their pins stay the same."""

import hashlib
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from framefleet.pip import pip_environment

PINS = Path(__file__).parent / "requirements"
# Written last: an environment that was cut off has none.
STAMP = "installed"


class InstallError(Exception):
    """A peer could not be installed; the message says why."""


def python_of(peer: str, folder: Path) -> Path:
    """The interpreter of a peer's environment below `folder`, installed first where it is not there.

    Each environment's own pip installs into it: one that is told where to could be led elsewhere by the caller's
    surroundings.

    Raises:
        InstallError: pip failed.
    """
    pins, home = PINS / f"{peer}.txt", folder / peer
    digest = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()
    stamp, python = home / STAMP, home / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"{peer}: installing into {home}", flush=True)
        shutil.rmtree(home, ignore_errors=True)
        _run([sys.executable, "-I", "-m", "venv", str(home)], peer)
        # The pins are whole: nothing is left to resolve.
        install = ["install", "--disable-pip-version-check", "--no-deps", "-q", "-r", str(pins)]
        _run([str(python), "-I", "-m", "pip", *install], peer)
        stamp.write_text(digest)
    return python.absolute()


def version_of(python: Path, package: str) -> str:
    """What is installed there of a package."""
    site = next(python.parent.parent.glob("lib/python*/site-packages"))
    return next(found.version for found in distributions(name=package, path=[str(site)]))


def _run(command: list[str], peer: str) -> None:
    ended = subprocess.run(command, env=pip_environment("install"), capture_output=True, text=True, check=False)
    if ended.returncode:
        lines = (ended.stderr or ended.stdout).strip().splitlines() or ["pip said nothing"]
        raise InstallError(f"{peer}: {command[-1]}: {lines[-1]}")
