"""A machine's CPUs by NUMA node, those of one core side by side: /sys -> [Devices] | local_fleet -> placement."""

from collections.abc import Collection
from pathlib import Path

from framefleet.machine.cpus import parse_cpus


def cpu_nodes(allowed: Collection[int], sys: Path) -> dict[int, tuple[int, ...]]:
    """The allowed CPUs by NUMA node; one node 0 where the kernel shows none. Nodes without such CPUs are left out."""
    nodes = {}
    for folder in sorted((sys / "devices/system/node").glob("node[0-9]*")):
        cpus = parse_cpus((folder / "cpulist").read_text())
        if usable := [cpu for cpu in cpus if cpu in allowed]:
            nodes[int(folder.name.removeprefix("node"))] = _by_core(usable, sys)
    return nodes or {0: _by_core(allowed, sys)}


def _by_core(cpus: Collection[int], sys: Path) -> tuple[int, ...]:
    """CPUs with the threads of one core side by side, however the machine numbers them."""
    return tuple(sorted(cpus, key=lambda cpu: (_core(cpu, sys), cpu)))


def _core(cpu: int, sys: Path) -> int:
    """The first CPU of the core that this one is a thread of; itself where the kernel does not tell."""
    try:
        return min(parse_cpus((sys / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()))
    except (OSError, ValueError):
        return cpu
