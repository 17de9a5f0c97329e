"""Which machine and which versions made the load; without them a figure means nothing.

`revision`: which revision of the source tree this is, read from git's own files, so that git itself is not needed.
"""

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from framefleet.machine.kernel import kernel_version

ROOT = Path(__file__).resolve().parents[2]
LENGTH = 12
PACKAGES = ("framefleet", "locust", "opencv-python", "numpy")


@dataclass(frozen=True, slots=True)
class Machine:
    """The load generator's machine.

    Attributes:
        cpu: the processor's own name for itself.
        cores: usable by this process.
        memory_gib: installed memory.
        system: operating system and its version; see `kernel_version`.
    """

    cpu: str
    cores: int
    memory_gib: float
    system: str

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} cores, {self.memory_gib:g} GiB, {self.system}"


def describe(cpuinfo: Path = Path("/proc/cpuinfo")) -> Machine:
    """Looks at the machine this runs on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cpu=_cpu_name(cpuinfo),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(memory / 2**30, 1),
        system=kernel_version(),
    )


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of the packages that shape a measurement."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "source tree"
    return found


def _cpu_name(cpuinfo: Path) -> str:
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Hardware", "Model"):
                return value.strip()
    return platform.processor() or platform.machine()


def revision(root: Path = ROOT) -> str:
    """The first digits of the commit that is checked out; empty outside a checkout."""
    try:
        folder = _folder(root / ".git")
        head = (folder / "HEAD").read_text(encoding="ascii").strip()
        found = _resolve(folder, head.removeprefix("ref: ")) if head.startswith("ref: ") else head
    except (OSError, UnicodeDecodeError):
        return ""
    return found[:LENGTH]


def _folder(path: Path) -> Path:
    """A worktree has a file that names its folder."""
    if path.is_file():
        return path.parent / path.read_text(encoding="utf-8").strip().removeprefix("gitdir: ")
    return path


def _resolve(folder: Path, name: str) -> str:
    shared = folder / "commondir"
    folders = [folder, folder / shared.read_text(encoding="utf-8").strip()] if shared.exists() else [folder]
    for place in folders:
        if (place / name).exists():
            return (place / name).read_text(encoding="ascii").strip()
    for place in folders:
        packed = place / "packed-refs"
        lines = packed.read_text(encoding="utf-8").splitlines() if packed.exists() else []
        for line in lines:
            commit, _, ref = line.partition(" ")
            if ref == name:
                return commit
    return ""
