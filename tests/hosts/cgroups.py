"""A control group per machine: without one, machines booted by the same process would share their systemd's groups."""

import os
from contextlib import suppress
from pathlib import Path

# Where systemd keeps its groups: hybrid set-ups have the first two, others the last.
MOUNTS = (Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))


def make_groups(name: str) -> tuple[Path, ...]:
    """Makes a group of that name below this process's own, in every hierarchy that systemd uses."""
    groups = tuple(parent / name for parent in _own_groups())
    for group in groups:
        group.mkdir(exist_ok=True)
    return groups


def groups_like(pattern: str) -> tuple[Path, ...]:
    """Groups below this process's own whose names are like a pattern of the shell's."""
    return tuple(group for parent in _own_groups() for group in parent.glob(pattern))


def members(groups: tuple[Path, ...]) -> set[int]:
    """Process ids of everything in the groups."""
    found: set[int] = set()
    for group in groups:
        for file in group.rglob("cgroup.procs"):
            with suppress(OSError):  # removed, or dying, meanwhile
                found |= {int(line) for line in file.read_text().split()}
    return found


def remove_groups(groups: tuple[Path, ...]) -> None:
    """Removes empty groups with all that is below them."""
    for group in groups:
        for folder, _, _ in os.walk(group, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()


def _own_groups() -> tuple[Path, ...]:
    return tuple(mount / _own_group(mount) for mount in MOUNTS if (mount / "cgroup.procs").exists())


def _own_group(mount: Path) -> str:
    """This process's group in a hierarchy, relative to its mount."""
    controller = "name=systemd" if mount.name == "systemd" else ""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == controller:
            return path.strip("/")
    return ""
