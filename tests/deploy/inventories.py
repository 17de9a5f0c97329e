"""Inventories and hosts for tests, the same on every machine."""

from dataclasses import replace
from pathlib import Path

from deploy.describe.fleet_file import parse_inventory
from deploy.describe.host_fleet import host_fleet
from deploy.describe.inventory import Inventory
from deploy.fleet import Fleet
from deploy.machine.devices import Devices, Gpu
from tests.deploy.fleets import MACHINE

NODES = {0: tuple(range(8)), 1: tuple(range(8, 16))}
GPUS = (
    Gpu("0", "GPU-aaaa0000", "NVIDIA L4", 0),
    Gpu("1", "GPU-bbbb1111", "NVIDIA L4", 1),
)
TWO_GPUS = Devices(GPUS, NODES)
NO_GPU = Devices((), {0: tuple(range(4))})
MODEL = "/var/lib/framefleet/models/0f/model.onnx"
ONE_HOST = '[[hosts]]\nname = "h1"\n'


def hosts(*lines: str) -> str:
    """TOML of hosts h1, h2, ... at 10.0.0.1, 10.0.0.2, ..., each with one line of its own."""
    return "".join(
        f'[[hosts]]\nname = "h{number}"\naddress = "10.0.0.{number}"\n{line}\n'
        for number, line in enumerate(lines, start=1)
    )


def expanded(text: str, host: str = "h1", devices: Devices = TWO_GPUS, **more: object) -> Fleet:
    """What runs on one host of an inventory."""
    return expanded_from(parse_inventory(text), host, devices, **more)


def expanded_from(inventory: Inventory, host: str = "h1", devices: Devices = TWO_GPUS, **more: object) -> Fleet:
    machine = replace(MACHINE, cores=len(devices.cpus))
    options = {"release": "20260102T030405Z-abc", "model": MODEL, **more}
    return host_fleet(inventory, host, machine, devices, **options)  # type: ignore[arg-type]


EXAMPLE = Path(__file__).parents[2] / "deploy" / "fleet.example.toml"
