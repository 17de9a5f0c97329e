"""A host's instances: which GPU each runs on, near which CPUs, on which port.

Flow: [Inventory] + [Devices] -> choose_gpus -> placement -> [Instance...] -> host_fleet.
"""

from collections.abc import Iterator, Mapping

from deploy.describe.balancing import instance_address
from deploy.describe.instances import CPU, make_instance
from deploy.describe.inventory import AUTO, Host, Inventory
from deploy.describe.placement import Place, place
from deploy.errors import Problem, SettingsError
from deploy.fleet import Instance
from deploy.machine.devices import UNKNOWN_NODE, Devices, Gpu


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
