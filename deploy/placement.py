"""Gives each instance of a host its CPUs: those of its GPU's NUMA node, or some of them for itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.cpus import write_cpus


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance runs.

    Attributes:
        threads: CPU threads it should use.
        cpus: CPUs it may use, as taskset takes them; empty for all.
    """

    threads: int
    cpus: str


def place(nodes: Mapping[int, tuple[int, ...]], wanted: Sequence[int], own: int) -> tuple[Place, ...]:
    """Places instances.

    Args:
        nodes: usable CPUs by NUMA node.
        wanted: for each instance the node it should be on; one that is not in `nodes` leaves it open.
        own: CPUs that each instance gets for itself; 0 shares a node's CPUs among its instances.

    Returns:
        One place per instance.

    Raises:
        ValueError: a node has not enough CPUs; says which.
    """
    chosen = _choose(nodes, wanted)
    if own:
        return _alone(nodes, chosen, own)
    shared = {node: max(1, len(nodes[node]) // chosen.count(node)) for node in set(chosen)}
    # On one node everything is equally near: the kernel's own choice is the better one.
    near = {node: write_cpus(cpus) if len(nodes) > 1 else "" for node, cpus in nodes.items()}
    return tuple(Place(shared[node], near[node]) for node in chosen)


def _choose(nodes: Mapping[int, tuple[int, ...]], wanted: Sequence[int]) -> list[int]:
    """A node for each instance; those that may be anywhere go where most CPUs are left for each."""
    chosen = list(wanted)
    for number, node in enumerate(wanted):
        if node not in nodes:
            chosen[number] = max(nodes, key=lambda node: (len(nodes[node]) / (chosen.count(node) + 1), -node))
    return chosen


def _alone(nodes: Mapping[int, tuple[int, ...]], chosen: Sequence[int], own: int) -> tuple[Place, ...]:
    for node in sorted(set(chosen)):
        if (needed := own * chosen.count(node)) > len(nodes[node]):
            count = chosen.count(node)
            raise ValueError(f"{count} x {own} = {needed} CPUs on NUMA node {node}, which has {len(nodes[node])}")
    left = {node: list(cpus) for node, cpus in nodes.items()}
    places = []
    for node in chosen:
        mine, left[node] = left[node][:own], left[node][own:]
        places.append(Place(own, write_cpus(mine)))
    return tuple(places)
