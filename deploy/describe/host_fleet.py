"""Expands the inventory into what runs on one host.

Flow: [Inventory] + this host's [Machine] and [Devices] + release -> host_fleet -> [Fleet] -> render.

`make_balancer`, `instance_address`: decides what one host's nginx listens on and whom it sends requests to, from the
inventory alone.

`make_instances`, `choose_gpus`: a host's instances: which GPU each runs on, near which CPUs, on which port.

Flow: [Inventory] + [Devices] -> choose_gpus -> placement -> [Instance...] -> host_fleet.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from deploy.allowance import NO_LIMITS
from deploy.describe.instances import CPU, make_instance
from deploy.describe.inventory import AUTO, Host, Inventory
from deploy.describe.limits import ServiceLimits, balancer_workers
from deploy.describe.monitoring import known_names, neighbours, operators
from deploy.describe.placement import Place, place
from deploy.errors import Problem, SettingsError
from deploy.fleet import LOOPBACK, PREFIX, Balancer, Code, Fleet, HostFacts, Instance, Peer, Unit
from deploy.machine.devices import UNKNOWN_NODE, Devices, Gpu

# A balancer in front of balancers lets those give up first.
SECOND_TIER_S = 5


def host_fleet(
    inventory: Inventory,
    host: str,
    facts: HostFacts,
    devices: Devices,
    *,
    release: str,
    model: str,
    engines: Mapping[str, str] | None = None,
    drained: Collection[str] = (),
) -> Fleet:
    """Expands the inventory into what runs on one host.

    Args:
        inventory: the whole fleet's.
        host: name of the host.
        facts: what it is.
        devices: what it has to compute with.
        release: id of the release to run; its folder is `inventory.folders.releases / release`, its interpreter
            `venv/bin/python` in there.
        model: absolute path on the host, or `simulated:...`.
        engines: a GPU's `name` to the model its instances serve instead, built for that type.
        drained: names of hosts that get no requests, beside those the inventory says are drained.

    Raises:
        SettingsError: lists everything on this host that does not fit the inventory.
    """
    mine = inventory.host(host)
    paths = inventory.folders.paths
    keys = {PREFIX + "KEYS": str(inventory.keys.file)} if inventory.keys.file else {}
    allowed = {PREFIX + "ALLOW": ",".join(addresses)} if (addresses := allowed_addresses(inventory, mine)) else {}
    usual = {PREFIX + "CACHE": str(paths.home), **allowed}
    settings = {**usual, **inventory.settings, **mine.settings, **keys}
    limits = ServiceLimits(settings)
    served = make_instances(
        inventory, mine, devices, settings=settings, release=release, models={CPU: model, **(engines or {})}
    )
    return Fleet(
        release=release,
        model=model,
        instances=served,
        balancer=make_balancer(inventory, mine, limits, cores=facts.cores, instances=len(served), drained=drained),
        paths=paths,
        # What the shell that deploys happens to have (its limits, its folder, its user) must not change the files.
        machine=replace(facts, nginx=inventory.nginx, open_files=inventory.open_files, root=False, cwd=Path("/")),
        code=code_in(inventory.folders.releases / release),
        lasting=code_in(inventory.folders.current),
        stop_wait_s=limits.stop_wait_s,
        unit=_unit(inventory, served),
        monitoring=replace(inventory.monitoring, operators=operators(inventory), names=known_names(inventory)),
        host=mine.name,
        address=mine.address,
        neighbours=neighbours(inventory, mine),
        own_key=inventory.keys.own,
    )


def code_in(folder: Path) -> Code:
    """The code of a release's folder, or of a link to one."""
    return Code(repo=folder, python=folder / "venv" / "bin" / "python")


def _unit(inventory: Inventory, served: tuple[Instance, ...]) -> Unit:
    return Unit(
        inventory.user,
        inventory.group,
        gpus=any(instance.device != CPU for instance in served),
        run_folder=str(inventory.folders.run.relative_to("/run")),
        memory_mb=inventory.memory_mb,
    )


def make_instances(
    inventory: Inventory,
    host: Host,
    devices: Devices,
    *,
    settings: Mapping[str, str],
    release: str,
    models: Mapping[str, str],
) -> tuple[Instance, ...]:
    """Makes a host's instances.

    Args:
        inventory: the whole fleet's.
        host: where they run.
        devices: what that host has.
        settings: service settings by their whole name.
        release: the id they show.
        models: what they serve by their GPU's name; `cpu` for the rest.

    Raises:
        SettingsError: lists what the host does not have, or that there are more instances than ports.
    """
    where = f"hosts[{inventory.hosts.index(host)}]"
    slots = tuple(_slots(host, choose_gpus(host, devices, where)))
    if len(slots) > inventory.room:
        raise SettingsError(inventory.over_room(where, len(slots)))
    places = _places(host, devices, [gpu.node if gpu else UNKNOWN_NODE for _, gpu in slots], where)
    return tuple(
        make_instance(
            name,
            instance_address(inventory, host),
            inventory.first_port + number,
            place=where_it_runs,
            model=models.get(gpu.name if gpu else CPU, models[CPU]),
            release=release,
            settings=settings,
            quarantine=inventory.folders.paths.quarantine,
            device=gpu.uuid if gpu else CPU,
            # Each process sees one GPU, or none: it cannot take another one's memory by mistake.
            surroundings={"CUDA_VISIBLE_DEVICES": gpu.uuid if gpu else ""},
        )
        for number, ((name, gpu), where_it_runs) in enumerate(zip(slots, places, strict=True))
    )


def choose_gpus(host: Host, devices: Devices, where: str) -> tuple[Gpu, ...]:
    """The GPUs that the host's instances run on.

    Args:
        host: names them.
        devices: what there is.
        where: path of the host in the inventory.

    Raises:
        SettingsError: one that is named is not there, or was named twice, or `auto` finds none.
    """
    there = ", ".join(f"{gpu.index} ({gpu.uuid})" for gpu in devices.gpus) or "none"
    if host.gpus == AUTO:
        if not devices.gpus:
            raise SettingsError(Problem(f"{where}.gpus", '"auto" finds no GPU', "install the driver, or set cpu = 1"))
        return devices.gpus
    named = {text: tuple(gpu for gpu in devices.gpus if _is(gpu, text)) for text in host.gpus}
    problems = [
        Problem(f"{where}.gpus", f"{text} is not on this host", f"there are: {there}")
        for text, found in named.items()
        if not found
    ]
    gpus = [gpu for found in named.values() for gpu in found]
    for gpu in dict.fromkeys(gpu for gpu in gpus if gpus.count(gpu) > 1):
        problems.append(Problem(f"{where}.gpus", f"{gpu.index} and {gpu.uuid} are one GPU", "name it once"))
    if problems:
        raise SettingsError(problems)
    return tuple(gpus)


def _is(gpu: Gpu, text: str) -> bool:
    """True if a user's text names this device; the index of a whole GPU names each of its MIG devices."""
    return text in (gpu.uuid, gpu.index, gpu.index.partition(":")[0])


def _slots(host: Host, gpus: tuple[Gpu, ...]) -> Iterator[tuple[str, Gpu | None]]:
    """Names of the instances, each with its GPU."""
    for gpu in gpus:
        name = f"gpu{gpu.index.replace(':', '.')}"
        for number in range(host.instances_per_gpu):
            yield name if host.instances_per_gpu == 1 else f"{name}-{number}", gpu
    for number in range(host.cpu):
        yield f"cpu{number}", None


def _places(host: Host, devices: Devices, nodes: list[int], where: str) -> tuple[Place, ...]:
    try:
        return place(devices.nodes, nodes, host.cpus_per_instance)
    except ValueError as error:
        raise SettingsError(Problem(f"{where}.cpus_per_instance", str(error), "lower it, or run fewer")) from None


def make_balancer(
    inventory: Inventory,
    host: Host,
    limits: ServiceLimits,
    *,
    cores: int,
    instances: int,
    drained: Collection[str] = (),
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
