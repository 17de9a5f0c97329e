"""Reads the tables of fleet.toml that a host consists of: the host itself, and service settings."""

import re
from typing import Any, Literal

from deploy.describe.inventory import AUTO, Host
from deploy.describe.limits import Limits
from deploy.describe.placement import EVENLY, MAX_CPUS, Own
from deploy.describe.tables import MISSING, Table, more_than_once
from deploy.fleet import MAX_INSTANCES, NAME, OWNED, PREFIX, UNSAFE

HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
GPU = re.compile(r"\d{1,2}(?::\d{1,2})?|(?:GPU|MIG)-[0-9A-Za-z/-]{4,}")
GPU_FIX = '"auto", or a list of indices (0, "0:1" for a MIG device) and UUIDs as `nvidia-smi -L` shows them'


def read_settings(table: Table) -> dict[str, str]:
    """Reads service settings; returns them by their whole name, `FRAMEFLEET_...`."""
    settings = {}
    for key in table.present():
        value, variable = table.value(key), PREFIX + key.upper()
        if key != key.lower() or not re.fullmatch(r"[a-z][a-z0-9_]*", key):
            table.problem(key, "settings are written in lower case", "see the settings table in docs/settings.md")
        elif variable in OWNED or key == "model":
            table.problem(key, "the fleet gives every instance its own", "leave it out; [model] names the model")
        elif key == "keys":
            table.problem(key, "all of a fleet's instances have the same", "write [keys] with its file")
        elif isinstance(value, bool) or not isinstance(value, str | int | float):
            table.problem(key, f"{value!r} is neither a number nor text", "see the settings table in docs/settings.md")
        elif found := UNSAFE.search(str(value)):
            table.problem(key, f"{value!r} contains {found[0]!r}", "no setting needs that character: correct it")
        else:
            settings[variable] = str(value)
    for problem in Limits(settings).problems:
        table.problem(problem.where.removeprefix(PREFIX).lower(), problem.what, problem.fix)
    return settings


def read_host(table: Table) -> Host:
    """Reads one of [[hosts]]."""
    name = table.text("name", None, NAME, "use letters, digits and . _ - (64 at most)")
    cpu = table.number("cpu", 0, 0, MAX_INSTANCES)
    host = Host(
        name=name,
        address=table.text("address", name, HOST_NAME, "write an IPv4 address or a host name"),
        # A host that is told to use its CPU does not use its GPUs as well unless told to.
        gpus=_gpus(table, () if cpu else AUTO),
        cpu=cpu,
        instances_per_gpu=table.number("instances_per_gpu", 1, 1, MAX_INSTANCES),
        cpus_per_instance=_own_cpus(table),
        settings=read_settings(table.table("settings")),
        drained=table.flag("drained", False),
    )
    table.close()
    return host


def _own_cpus(table: Table) -> Own:
    value: Any = table.value("cpus_per_instance")
    if value is MISSING or value == EVENLY:
        return EVENLY
    if isinstance(value, str):
        table.problem("cpus_per_instance", f"{value!r} will not do", 'write "auto", or a whole number')
        return EVENLY
    return table.number("cpus_per_instance", 0, 0, MAX_CPUS)


def _gpus(table: Table, default: "Literal['auto'] | tuple[str, ...]") -> "Literal['auto'] | tuple[str, ...]":
    value: Any = table.value("gpus")
    if value is MISSING:
        return default
    if value == AUTO:
        return AUTO
    gpus = tuple(str(item) for item in value) if isinstance(value, list) else None
    if gpus is None or not all(GPU.fullmatch(gpu) for gpu in gpus):
        table.problem("gpus", f"{value!r} will not do", f"write {GPU_FIX}")
        return default
    if twice := more_than_once(gpus):
        table.problem("gpus", f"names {', '.join(twice)} twice", "name each once; instances_per_gpu shares a GPU")
    return gpus
