"""The verbs about an inventory that change nothing: render, diff, devices; inventory_check has config-check."""

from collections.abc import Sequence
from pathlib import Path

from deploy.describe.inventory import Inventory
from deploy.files.diff import differences
from deploy.files.render import render, render_monitoring
from deploy.machine import run
from deploy.machine.devices import devices_to_json
from deploy.machine.world import World
from deploy.rendered_file import RenderedFile
from deploy.verbs.hosts import HostFleet


def render_hosts(found: Sequence[HostFleet], out: Path, world: World) -> int:
    """Writes every host's files into a folder of its name."""
    for host in found:
        write_and_list(render(host.fleet), out / host.name, world)
    return 0


def render_figures(inventory: Inventory, out: Path, world: World) -> None:
    """Writes what Prometheus and Grafana are given."""
    write_and_list(render_monitoring(inventory), out / "monitoring", world)


def write_and_list(files: Sequence[RenderedFile], folder: Path, world: World) -> None:
    """Makes a folder hold these files, and shows the path of each."""
    run.write_files(folder, files)
    for file in files:
        world.say(str(folder / file.path))


def show_difference(host: HostFleet, world: World) -> int:
    """Shows what would change in the files this host runs with."""
    lines = tuple(differences(render(host.fleet), run.read_files(host.fleet.paths.etc)))
    for line in lines or (f"{host.name}: nothing would change",):
        world.say(line)
    return 0


def show_devices(world: World) -> int:
    """Shows this machine's GPUs and CPUs as JSON, for `--devices` elsewhere."""
    world.say(devices_to_json(run.this_devices()).rstrip())
    return 0
