"""Expands the inventory into what runs on one host.

Flow: [Inventory] + this host's [Machine] and [Devices] + release -> host_fleet -> [Fleet] -> render.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from deploy.describe.balancing import allowed_addresses, make_balancer
from deploy.describe.host_instances import make_instances
from deploy.describe.instances import CPU
from deploy.describe.inventory import Inventory
from deploy.describe.limits import Limits
from deploy.describe.watching import known_names, neighbours, operators
from deploy.fleet import PREFIX, Code, Fleet, Instance, Machine, Unit
from deploy.machine.devices import Devices


def host_fleet(
    inventory: Inventory,
    host: str,
    machine: Machine,
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
        machine: what it is.
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
    limits = Limits(settings)
    served = make_instances(
        inventory, mine, devices, settings=settings, release=release, models={CPU: model, **(engines or {})}
    )
    return Fleet(
        release=release,
        model=model,
        instances=served,
        balancer=make_balancer(inventory, mine, limits, cores=machine.cores, instances=len(served), drained=drained),
        paths=paths,
        # What the shell that deploys happens to have (its limits, its folder, its user) must not change the files.
        machine=replace(machine, nginx=inventory.nginx, open_files=inventory.open_files, root=False, cwd=Path("/")),
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
