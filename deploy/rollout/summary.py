"""Says in words what a fleet serves, and what would change about it.

`summary`: one line: how many instances of which model, on what, and where.

`changes`, `model_name`: which options a fleet is given that the one before was not: an `up` forgets what the last one
was told.

Flow: the record of the last `up` [Fleet] + what is asked for now [Fleet] -> changes -> one line on the terminal.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import requests

from deploy.checks.health import PROBE_TIMEOUT_S
from deploy.fleet import OWNED, PREFIX, SIMULATED, Fleet, Instance
from deploy.machine.machine import Machine

DEFAULT, OFF, ANY = "default", "off", "any"
KEYS, THREADS, CPUS = PREFIX + "KEYS", PREFIX + "THREADS", PREFIX + "CPUS"
# The model has a line of its own, and where pictures are quarantined nobody is asked.
OWN_WORDS = (OWNED - {CPUS}) | {PREFIX + "MODEL", PREFIX + "QUARANTINE"}
NAMES = {KEYS: "keys", THREADS: "threads of each", CPUS: "CPUs of the first"}
NONE = {KEYS: OFF, CPUS: "all"}


def summary(fleet: Fleet, machine: Machine) -> str:
    """What a running fleet is, as its instances say themselves."""
    count = len(fleet.instances)
    with machine.open_session() as session:
        # Each once, in the order of the instances: GPUs of one host may differ.
        serving = ", ".join(dict.fromkeys(_serving(session, instance, fleet) for instance in fleet.instances))
    who = f"{count} instance{'' if count == 1 else 's'} of release {fleet.release}"
    return f"{who}, {serving}, behind {fleet.balancer.url}" if serving else f"{who} behind {fleet.balancer.url}"


def _serving(session: requests.Session, instance: Instance, fleet: Fleet) -> str:
    """An instance's model and device; without an answer only the model that it was told to serve."""
    if fleet.model.startswith(SIMULATED):
        return fleet.model
    try:
        told: Any = session.get(f"{instance.url}/status", timeout=PROBE_TIMEOUT_S).json()
        model, device, note = told["model"]["name"], told["engine"]["device"], told["engine"]["note"]
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return model_name(fleet.model)
    return f"{model} on {device}{f' ({note})' if note else ''}"


def changes(before: Fleet, after: Fleet) -> tuple[str, ...]:
    """Lists what differs, each as `option old -> new`; empty if the options are the same."""
    return tuple(f"{name} {old} -> {new}" for name, old, new in _pairs(before, after) if old != new)


def model_name(model: str) -> str:
    """How people call a model: its file's name without the suffix, or all of `simulated:...`."""
    return model if model.startswith(SIMULATED) else Path(model).stem


def _pairs(before: Fleet, after: Fleet) -> Iterator[tuple[str, object, object]]:
    yield "model", *_apart(before.model, after.model)
    yield "release", before.release, after.release
    yield "instances", len(before.instances), len(after.instances)
    yield "port", before.balancer.port, after.balancer.port
    yield "instance port", _first_port(before), _first_port(after)
    old, new = asdict(before.balancer.allowance), asdict(after.balancer.allowance)
    for name in new:
        none = 0 if name == "burst" else ANY
        yield name, old[name] or none, new[name] or none
    yield from _settings(_environment(before), _environment(after))


def _settings(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[tuple[str, object, object]]:
    for name in sorted((old.keys() | new.keys()) - OWN_WORDS):
        if name.startswith(PREFIX):
            none = NONE.get(name, DEFAULT)
            yield NAMES.get(name, name), old.get(name) or none, new.get(name) or none


def _environment(fleet: Fleet) -> Mapping[str, str]:
    """The settings, which all instances share but for those that the fleet sets itself."""
    return fleet.instances[0].environment if fleet.instances else {}


def _first_port(fleet: Fleet) -> int:
    return fleet.instances[0].port if fleet.instances else 0


def _apart(old: str, new: str) -> tuple[str, str]:
    """Two models by their names, or by their paths where the names are the same."""
    names = model_name(old), model_name(new)
    return (old, new) if names[0] == names[1] else names
