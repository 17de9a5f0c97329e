"""Gives each instance of a machine its CPUs: some for itself alone, on its GPU's NUMA node. Pure.

The threads of one process fight for its GIL across CPUs, and two processes on one CPU wait for each other while another
idles: figures are in ARCHITECTURE.md, among the decisions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from framefleet.machine.cpus import write_cpus

EVENLY: Literal["auto"] = "auto"
MAX_CPUS = 1024
Own = int | Literal["auto"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance runs.

    Attributes:
        threads: CPU threads it should use.
        cpus: CPUs it may use, as taskset takes them; empty for all.
    """

    threads: int
    cpus: str


def place(nodes: Mapping[int, tuple[int, ...]], wanted: Sequence[int], own: Own) -> tuple[Place, ...]:
    """Places instances.

    Args:
        nodes: usable CPUs by NUMA node, those of one core side by side.
        wanted: for each instance the node it should be on; one that is not in `nodes` leaves it open.
        own: CPUs that each instance gets for itself. `auto` deals out all of a node's CPUs, and shares them where
            there are more instances than CPUs; 0 always shares them.

    Returns:
        One place per instance.

    Raises:
        ValueError: a node has not enough CPUs; says which.
    """
    chosen = _choose(nodes, wanted)
    if own == EVENLY and len(wanted) == 1 and wanted[0] not in nodes:
        return (Place(sum(map(len, nodes.values())), ""),)
    _demand_room(nodes, chosen, 0 if own == EVENLY else own)
    # On one node everything is equally near: the kernel's own choice among what is shared is the better one.
    near = {node: write_cpus(cpus) if len(nodes) > 1 else "" for node, cpus in nodes.items()}
    placed: dict[int, list[Place]] = {}
    for node in set(chosen):
        cpus, count = nodes[node], chosen.count(node)
        if own == 0 or count > len(cpus) or (own == EVENLY and count == 1):
            placed[node] = [Place(max(1, len(cpus) // count), near[node])] * count
        else:
            placed[node] = [Place(len(mine), write_cpus(mine)) for mine in _apart(cpus, count, own)]
    return tuple(placed[node].pop(0) for node in chosen)


def _choose(nodes: Mapping[int, tuple[int, ...]], wanted: Sequence[int]) -> list[int]:
    """A node for each instance; those that may be anywhere go where most CPUs are left for each."""
    chosen = list(wanted)
    for number, node in enumerate(wanted):
        if node not in nodes:
            chosen[number] = max(nodes, key=lambda node: (len(nodes[node]) / (chosen.count(node) + 1), -node))
    return chosen


def _demand_room(nodes: Mapping[int, tuple[int, ...]], chosen: Sequence[int], own: int) -> None:
    for node in sorted(set(chosen)):
        if (needed := own * chosen.count(node)) > len(nodes[node]):
            count = chosen.count(node)
            raise ValueError(f"{count} x {own} = {needed} CPUs on NUMA node {node}, which has {len(nodes[node])}")


def _apart(cpus: Sequence[int], count: int, own: Own) -> list[Sequence[int]]:
    """As many CPUs for each as it owns, as far from one another's as they fit: on cores of their own, if there are."""
    starts = [number * len(cpus) // count for number in range(count + 1)]
    return [cpus[start : after if own == EVENLY else start + own] for start, after in pairwise(starts)]
