"""What the fleet page and Prometheus need to know of a fleet, as text that nginx hands out; nothing is written here.

Flow: [Fleet] -> page_json, targets_json; [Inventory] -> operators, neighbours -> [Fleet].
"""

import json

from deploy.describe.inventory import Host, Inventory
from deploy.fleet import LOOPBACK, Fleet, Neighbour
from framefleet.http.address import is_ip_address


def page_json(fleet: Fleet) -> str:
    """Names the hosts that the fleet page shows, and where it finds them from this host's nginx."""
    hosts = [{"name": fleet.host, "path": "."}]
    hosts += [{"name": other.name, "path": f"_hosts/{other.name}"} for other in fleet.neighbours]
    return json.dumps({"slo_ms": fleet.monitoring.slo_ms, "hosts": hosts}, indent=1) + "\n"


def targets_json(fleet: Fleet) -> str:
    """Names what Prometheus scrapes on this host, in the form of its HTTP service discovery."""
    tls = fleet.balancer.tls
    address = f"{fleet.address}:{tls.port if tls else fleet.balancer.port}"
    common = {"host": fleet.host, "__scheme__": "https" if tls else "http"}

    def target(path: str, **labels: str) -> dict[str, object]:
        return {"targets": [address], "labels": {**common, "__metrics_path__": path, **labels}}

    instances = [target(f"/_instances/{i.name}/metrics", instance=f"{fleet.host}/{i.name}") for i in fleet.instances]
    programs = target("/_programs/metrics", job="framefleet-programs", instance=fleet.host)
    return json.dumps([*instances, programs], indent=1) + "\n"


def operators(inventory: Inventory) -> tuple[str, ...]:
    """Who may look: this host's tools, whom the inventory names, and the other hosts, which show each other's page.

    A host that is known by name alone is left out: nginx takes addresses only.
    """
    hosts = [host.address for host in inventory.hosts if is_ip_address(host.address)]
    return tuple(dict.fromkeys((LOOPBACK, *inventory.monitoring.operators, *hosts)))


def known_names(inventory: Inventory) -> tuple[str, ...]:
    """Host names that people and other hosts ask this fleet's hosts by."""
    hosts = [name for host in inventory.hosts for name in (host.name, host.address) if not is_ip_address(name)]
    return tuple(dict.fromkeys((*hosts, *inventory.monitoring.names)))


def neighbours(inventory: Inventory, host: Host) -> tuple[Neighbour, ...]:
    """The other hosts whose nginx answers this one; in mode `one` only the balancing host's does."""
    plan = inventory.balancing
    open_to_all = [other for other in inventory.hosts if plan.mode != "one" or other.name in plan.hosts]
    return tuple(Neighbour(other.name, host_url(inventory, other)) for other in open_to_all if other.name != host.name)


def host_url(inventory: Inventory, host: Host) -> str:
    """Where other machines reach a host's nginx."""
    plan = inventory.balancing
    if plan.tls and (plan.mode == "each" or host.name in plan.hosts):
        return f"https://{host.address}:{plan.tls.port}"
    return f"http://{host.address}:{plan.port}"
