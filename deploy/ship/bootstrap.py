"""Turns an unpacked bundle into a release in its final folder, then lets that release deploy itself.

Flow: bundle -> verify -> [Release] in `<install>/releases/<id>` with a venv of its own -> `framefleet deploy`.
Runs with the host's own Python before anything is installed, so: only the standard library, and no network.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("deploy.ship.bootstrap")


import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from deploy.errors import CheckError, DeployError, PreflightError, Problem, raise_if
from deploy.machine.run_lock import deploy_lock, this_holder
from deploy.release import BUILT, RECORD, SIGNATURE, SUMS, Release, from_json, hashes
from deploy.ship.bundle import CODE, FOLDER_MODE, mode_of
from framefleet.whole_file import sha256

LOCK = "deploy.lock"
# The release needs none of these once it is built; model and inventory have places of their own.
LEFT_OUT = frozenset({"wheels", "more-wheels", "model", "fleet.toml"})
# An installed wheel, and the bytecode beside it, take about three times its own size.
UNPACKED = 4
SPARE_BYTES = 200 * 2**20
# What a wheel leaves to the system shows when it is imported.
IMPORTS = "import cv2, deploy.__main__, service.app"

Say = Callable[[str], None]


def build(bundle: Path, install: Path, say: Say, imports: str = IMPORTS) -> Path:
    """Makes sure that the bundle's release is there, complete.

    Args:
        bundle: folder of the unpacked bundle.
        install: folder that holds `releases/`.
        say: takes one line per step.
        imports: Python that has to run in the finished release.

    Returns:
        The release's folder.

    Raises:
        DeployError: the bundle is damaged or not for this host, or its packages cannot be installed.
    """
    release = _read_release(bundle)
    folder = install / "releases" / release.id
    _check_host(release)
    with deploy_lock(install / LOCK, this_holder(f"building release {release.id}", os.environ)):
        digest = sha256(bundle / SUMS)
        if (folder / BUILT).exists():
            _check_same(folder, digest)
        say(f"== verify: the files of release {release.id}")
        raise_if(CheckError, verify(bundle))
        if (folder / BUILT).exists():
            say(f"== build: release {release.id} is in place")
            return folder
        _check_space(bundle, install)
        say(f"== build: release {release.id} in {folder}")
        _copy(bundle, folder)
        _make_venv(bundle, folder, imports)
        os.sync()
        (folder / BUILT).write_text(digest)
        os.sync()
    return folder


def verify(bundle: Path) -> tuple[Problem, ...]:
    """Compares every file of an unpacked bundle with its hash; a file without one is as bad as one that differs."""
    wanted = hashes(bundle)
    # A folder without a file, a link or a fifo is as good as a file without a hash: it was not packed.
    folders = {str(folder) for name in wanted for folder in PurePosixPath(name).parents}
    present = {str(path.relative_to(bundle)) for path in bundle.rglob("*")} - folders - {SUMS, SIGNATURE}
    fix = "unpack the bundle again, or copy it here again"
    problems = [Problem(name, "missing in the bundle", fix) for name in sorted(wanted.keys() - present)]
    problems += [Problem(name, "not listed in SHA256SUMS", fix) for name in sorted(present - wanted.keys())]
    differ = [name for name in sorted(wanted.keys() & present) if _differs(bundle / name, wanted[name])]
    return (*problems, *(Problem(name, "damaged: its hash differs", fix) for name in differ))


def _differs(file: Path, digest: str) -> bool:
    return file.is_symlink() or not file.is_file() or sha256(file) != digest


def _read_release(bundle: Path) -> Release:
    try:
        return from_json((bundle / RECORD).read_text())
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise CheckError(Problem(str(bundle / RECORD), what, "unpack the bundle again")) from None


def _check_host(release: Release) -> None:
    here = f"{sys.version_info[0]}.{sys.version_info[1]} on {platform.machine()}"
    wanted = f"{release.python} on {release.machine}"
    if here != wanted:
        fix = f"set PYTHON= to a Python {release.python}, or make the bundle with the Python of this host"
        raise PreflightError(Problem("python", f"the bundle is for Python {wanted}, this is {here}", fix))


def _check_same(folder: Path, digest: str) -> None:
    if (folder / BUILT).read_text() != digest:
        what = "was built from another bundle with the same id"
        raise CheckError(Problem(str(folder), what, "make the bundle again: it gets a new id"))


def _check_space(bundle: Path, install: Path) -> None:
    size = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    needed, free = size * UNPACKED + SPARE_BYTES, shutil.disk_usage(install).free
    if free < needed:
        what = f"{free // 2**20} MiB are free, a release takes {needed // 2**20} MiB"
        raise PreflightError(Problem(str(install), what, "make room"))


def _copy(bundle: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # cut off while it was built
    folder.mkdir(parents=True)
    for entry in sorted(bundle.iterdir()):
        if entry.name in LEFT_OUT:
            continue
        if entry.is_dir():
            shutil.copytree(entry, folder / entry.name)
        else:
            shutil.copy2(entry, folder / entry.name)
    # Those that it was unpacked with, such as on a stick, are nobody's promise: whoever may write here is run by root.
    for path in (folder, *folder.rglob("*")):
        path.chmod(FOLDER_MODE if path.is_dir() else mode_of(str(path.relative_to(folder))))


def _make_venv(bundle: Path, folder: Path, imports: str) -> None:
    venv = folder / "venv"
    python = str(venv / "bin" / "python")
    pip = (python, "-I", "-m", "pip", "--isolated", "install", "--no-index", "--no-deps", "--quiet")
    _run((sys.executable, "-I", "-m", "venv", str(venv)), "install python3-venv")
    lock = ("--require-hashes", "--find-links", str(bundle / "wheels"), "-r", str(bundle / "lock" / "service.txt"))
    _run((*pip, "--disable-pip-version-check", *lock), "make the bundle again, with the Python of this host")
    if more := sorted(map(str, (bundle / "more-wheels").glob("*.whl"))):
        _run((*pip, "--disable-pip-version-check", *more), "carry wheels that fit this host's Python")
    # The code is importable from anywhere, with `python -I`, which takes nothing from where it is called.
    for packages in venv.glob("lib/python*/site-packages"):
        (packages / "framefleet.pth").write_text(f"{folder}\n")
    # Who runs it may not write here.
    _run((python, "-I", "-m", "compileall", "-q", *(str(folder / name) for name in CODE)), "correct the code")
    _run((python, "-I", "-c", imports), "if a library is missing: apt-get install libgl1 libglib2.0-0")


def _run(command: Sequence[str], fix: str) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        # A venv of the caller's must not leak into this one.
        env={k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_", "VIRTUAL_ENV"))},
    )
    if done.returncode != 0:
        last = [line.strip() for line in done.stdout.splitlines() if line.strip()][-1:] or ["no output"]
        raise PreflightError(Problem(" ".join(command[:4]), last[0], fix))


def main(arguments: Sequence[str]) -> int:
    """Builds the release this file came with, then becomes its `framefleet deploy` with the same arguments."""
    bundle = Path(__file__).resolve().parents[2]
    install = Path(os.environ.get("INSTALL") or "/opt/framefleet").absolute()
    os.umask(0o022)  # another user runs what is built here
    try:
        folder = build(bundle, install, lambda line: print(line, flush=True))
    except DeployError as error:
        print(error, file=sys.stderr)
        return 1
    program = str(folder / "bin" / "framefleet")
    os.execv(program, [program, "deploy", "--bundle", str(bundle), *arguments])
