"""Decides what one host's nginx listens on and whom it sends requests to, from the inventory alone."""

from collections.abc import Collection

from deploy.allowance import NO_LIMITS
from deploy.describe.inventory import Host, Inventory
from deploy.describe.limits import Limits, balancer_workers
from deploy.fleet import LOOPBACK, Balancer, Peer

# A balancer in front of balancers lets those give up first.
SECOND_TIER_S = 5


def make_balancer(
    inventory: Inventory, host: Host, limits: Limits, *, cores: int, instances: int, drained: Collection[str] = ()
) -> Balancer:
    """Makes the balancer of one host.

    Args:
        inventory: the whole fleet's.
        host: whose it is.
        limits: the host's service settings.
        cores: that host's CPU cores.
        instances: how many instances run there.
        drained: names of hosts that get no requests, beside those the inventory says are drained.
    """
    plan = inventory.balancing
    drained = {*drained, *(other.name for other in inventory.hosts if other.drained)}
    takes_clients = plan.mode == "each" or host.name in plan.hosts
    peers = _peers(inventory, host, instances, drained)
    second_tier = plan.mode == "edge" and bool(peers)
    return Balancer(
        # In mode "one" the others' instances are asked directly; their own nginx is for their own tools.
        host=LOOPBACK if plan.mode == "one" and not takes_clients else plan.address,
        port=plan.port,
        workers=balancer_workers(cores),
        max_body_bytes=limits.max_body_bytes,
        read_timeout_s=limits.read_timeout_s + (SECOND_TIER_S if second_tier else 0),
        peers=peers,
        drained=bool(peers) and host.name in drained,
        tls=plan.tls if takes_clients else None,
        # What an edge has let through is not counted again: to the next nginx it is all the edge's.
        allowance=plan.allowance if takes_clients else NO_LIMITS,
        by_key=inventory.keys.file is not None,
        # An edge asks another host once this one says 502.
        hold_ms=limits.hold_ms if takes_clients else 0,
        edges=()
        if takes_clients or plan.mode != "edge"
        else tuple(inventory.host(name).address for name in plan.hosts),
    )


def instance_address(inventory: Inventory, host: Host) -> str:
    """Where the instances of a host listen: on loopback, unless another host's nginx asks them."""
    plan = inventory.balancing
    return host.address if plan.mode == "one" and host.name not in plan.hosts else LOOPBACK


def allowed_addresses(inventory: Inventory, host: Host) -> tuple[str, ...]:
    """Who may connect to a host's instances: its own tools, and the balancing host; empty if they are on loopback."""
    if instance_address(inventory, host) == LOOPBACK:
        return ()
    return (LOOPBACK, host.address, *(inventory.host(name).address for name in inventory.balancing.hosts))


def _peers(inventory: Inventory, host: Host, instances: int, drained: Collection[str]) -> tuple[Peer, ...]:
    plan = inventory.balancing
    if plan.mode == "each" or host.name not in plan.hosts:
        return ()
    others = [other for other in inventory.hosts if other.name not in plan.hosts and other.instances != 0]
    if plan.mode == "one":
        return tuple(
            Peer(
                f"{other.name}/{number}",
                other.address,
                inventory.first_port + number,
                drained=other.name in drained,
                instance=True,
            )
            for other in others
            for number in range(other.instances or 0)
        )
    counted = all(other.instances for other in others)
    # A host that finds its GPUs itself is taken to be like this one, or like the other hosts.
    return tuple(
        Peer(
            other.name,
            other.address,
            plan.port,
            (other.instances if counted else 0) or instances or 1,
            other.name in drained,
        )
        for other in others
    )
