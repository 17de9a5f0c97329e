"""Says in words which options a fleet is given that the one before was not: an `up` forgets what the last one was told.

Flow: the record of the last `up` [Fleet] + what is asked for now [Fleet] -> changes -> one line on the terminal.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from deploy.fleet import OWNED, PREFIX, SIMULATED, Fleet

DEFAULT, OFF, ANY = "default", "off", "any"
KEYS, THREADS, CPUS = PREFIX + "KEYS", PREFIX + "THREADS", PREFIX + "CPUS"
# The model has a line of its own, and where pictures are quarantined nobody is asked.
OWN_WORDS = (OWNED - {CPUS}) | {PREFIX + "MODEL", PREFIX + "QUARANTINE"}
NAMES = {KEYS: "keys", THREADS: "threads of each", CPUS: "CPUs of the first"}
NONE = {KEYS: OFF, CPUS: "all"}


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
