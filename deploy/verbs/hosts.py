"""The fleets of an inventory's hosts, seen from a checkout or from a host itself: what its verbs work on.

Flow: --fleet, --host, --devices [HostOptions] + this machine -> find_fleets -> [HostFleet...] -> render, check, diff.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.describe.fleet_file import read_inventory
from deploy.describe.host_fleet import host_fleet
from deploy.describe.inventory import AUTO, Host, Inventory
from deploy.describe.placement import EVENLY
from deploy.describe.tables import Doubts
from deploy.errors import DeployError, Problem, SettingsError
from deploy.files.record import from_json
from deploy.fleet import Fleet
from deploy.machine import run
from deploy.machine.devices import Devices, Gpu, devices_from_json
from deploy.machine.machine import Machine
from framefleet.text_file import read_text
from framefleet.whole_file import sha256

NO_RELEASE = "dev"
DEVICES_COMMAND = "ssh HOST /opt/framefleet/current/bin/framefleet devices > HOST.json"


@dataclass(frozen=True, slots=True)
class HostOptions:
    """What the person at the command line asked for.

    Attributes:
        file: the fleet.toml.
        host: name of one of its hosts; None for all, or for the one that is here.
        devices: what `devices` wrote on that host; None looks at this machine if it is the host.
        release: id to render for; None takes the one that runs here.
        here: True if the host is this machine, whatever its name.
    """

    file: Path
    host: str | None = None
    devices: Path | None = None
    release: str | None = None
    here: bool = False


@dataclass(frozen=True, slots=True)
class HostFleet:
    """What runs on one host.

    Attributes:
        name: of the host.
        here: True if that is this machine.
        fleet: what runs there.
    """

    name: str
    here: bool
    fleet: Fleet


def find_fleets(options: HostOptions, machine: Machine) -> tuple[HostFleet, ...]:
    """Expands the inventory for one host or all.

    Raises:
        SettingsError: lists everything that is wrong with the inventory, or does not fit a host.
    """
    found, problems = expand_fleets(read_inventory(options.file), options, machine)
    if problems:
        raise SettingsError(problems)
    return found


def expand_fleets(
    inventory: Inventory, options: HostOptions, machine: Machine, doubts: Doubts | None = None
) -> tuple[tuple[HostFleet, ...], tuple[Problem, ...]]:
    """Expands an inventory for one host or all, as far as that can be done.

    Args:
        inventory: what was read.
        options: which hosts, and what they are taken to have.
        machine: is told what is assumed.
        doubts: about the inventory; a host with any is left out.

    Returns:
        The hosts' fleets, and what keeps others from having one.

    Raises:
        SettingsError: no such host, or its devices cannot be read.
    """
    hosts = _hosts(inventory, options, machine)
    if options.devices and len(hosts) > 1:
        raise SettingsError(Problem("--devices", "are those of one host", "name it with --host"))
    running = _running(inventory)
    release = options.release or (running.release if running else NO_RELEASE)
    problems: list[Problem] = []
    try:
        model = _model(inventory, options.file.parent, running)
    except SettingsError as error:
        problems += error.problems
        model = str(inventory.folders.paths.model("unknown", Path(inventory.model.file).name))
    found = []
    for number, host in enumerate(inventory.hosts):
        if host not in hosts or (doubts and doubts.about(f"hosts[{number}]", "ports")):
            continue
        try:
            found.append(_host_fleet(inventory, host, options, machine, release=release, model=model))
        except DeployError as error:
            problems += error.problems
    return tuple(found), tuple(problems)


def _hosts(inventory: Inventory, options: HostOptions, machine: Machine) -> tuple[Host, ...]:
    if options.host:
        return (inventory.host(options.host),)
    return (inventory.this_host(machine.hostname),) if options.here else inventory.hosts


def assumed_devices(host: Host, cores: int) -> Devices:
    """Stand-ins for what a host has, as far as the inventory tells.

    Args:
        host: what the inventory says of it.
        cores: CPUs it is taken to have, if its instances do not need more.
    """
    gpus = tuple(_assumed(host))
    each = 0 if host.cpus_per_instance == EVENLY else host.cpus_per_instance
    needed = (len(gpus) * host.instances_per_gpu + host.cpu) * each
    return Devices(gpus, {0: tuple(range(max(cores, needed)))})


def _assumed(host: Host) -> Iterator[Gpu]:
    names = ("0",) if host.gpus == AUTO else host.gpus
    for number, name in enumerate(names):
        by_index = name[0].isdigit()
        yield Gpu(name if by_index else f"9{number}", f"GPU-unknown-{name}" if by_index else name, "unknown")


def _host_fleet(
    inventory: Inventory, host: Host, options: HostOptions, machine: Machine, *, release: str, model: str
) -> HostFleet:
    here = options.here or host.is_on(machine.hostname)
    facts = run.host_facts(inventory.nginx, machine.environ)
    if options.devices:
        devices = _read_devices(options.devices)
    elif here:
        devices = run.this_devices()
    else:
        devices = assumed_devices(host, facts.cores)
        if host.instances != 0:
            machine.say(
                f"note: {host.name} is not this machine: its GPUs and CPUs are assumed; --devices FILE tells them"
            )
    return HostFleet(host.name, here, host_fleet(inventory, host.name, facts, devices, release=release, model=model))


def _read_devices(file: Path) -> Devices:
    try:
        return devices_from_json(read_text(file))
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        fix = f"make it anew: {DEVICES_COMMAND}"
        raise SettingsError(Problem(f"--devices {file}", what, fix)) from None


def _running(inventory: Inventory) -> Fleet | None:
    """What was last deployed on this machine; None if nothing was."""
    try:
        return from_json(inventory.folders.paths.record.read_text())
    except (OSError, ValueError):
        return None


def _model(inventory: Inventory, folder: Path, running: Fleet | None) -> str:
    """Where a host keeps the model: below its hash, which is given, or the file's, or that of what runs here."""
    model = inventory.model
    if model.simulated:
        return model.file
    file = folder / model.file
    digest = model.sha256 or (sha256(file) if file.is_file() else "")
    if digest:
        return str(inventory.folders.paths.model(digest, file.name))
    if running and Path(running.model).name == file.name:
        return running.model
    raise SettingsError(Problem("model.file", f"{file} is not here", "run `make setup`, or write its model.sha256"))
