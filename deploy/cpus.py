"""CPUs by NUMA node, and lists of CPUs as the kernel and taskset write them."""

from collections.abc import Collection
from pathlib import Path


def parse_cpus(text: str) -> tuple[int, ...]:
    """Reads a list of CPUs as the kernel writes them, such as `0-3,8`."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            cpus += range(int(first), int(last or first) + 1)
    return tuple(cpus)


def write_cpus(cpus: Collection[int]) -> str:
    """Writes CPUs as the kernel and taskset do: the inverse of `parse_cpus`."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def cpu_nodes(allowed: Collection[int], sys: Path) -> dict[int, tuple[int, ...]]:
    """The allowed CPUs by NUMA node; one node 0 where the kernel shows none. Nodes without such CPUs are left out."""
    nodes = {}
    for folder in sorted((sys / "devices/system/node").glob("node[0-9]*")):
        cpus = parse_cpus((folder / "cpulist").read_text())
        if usable := tuple(cpu for cpu in cpus if cpu in allowed):
            nodes[int(folder.name.removeprefix("node"))] = usable
    return nodes or {0: tuple(sorted(allowed))}
