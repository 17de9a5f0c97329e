"""Says what is wrong in the words of fleet.toml, whose keys the service knows by other names.

Flow: service_check [Problem...] + [Inventory] -> in_file -> [Problem...] with `hosts[1].settings.conf` and the like.
"""

import re

from deploy.describe.inventory import Host, Inventory
from deploy.errors import Problem
from deploy.fleet import PREFIX

OWN_TABLES = {"MODEL": "model.file", "KEYS": "keys.file"}
VARIABLE = re.compile(rf"{PREFIX}([A-Z0-9_]+)")


def in_file(problem: Problem, inventory: Inventory, host: Host | None) -> Problem:
    """The same problem with the keys of fleet.toml for FRAMEFLEET_... variables.

    Args:
        problem: what the service says.
        inventory: what the file says.
        host: whose instances it is about; None for those of none.
    """
    match = VARIABLE.fullmatch(problem.where)
    where = _key(match[1], inventory, host) if match else problem.where
    return Problem(where, _words(problem.what), _words(problem.fix))


def _key(name: str, inventory: Inventory, host: Host | None) -> str:
    if name in OWN_TABLES:
        return OWN_TABLES[name]
    own = f"hosts[{inventory.hosts.index(host)}]." if host and PREFIX + name in host.settings else ""
    return f"{own}settings.{name.lower()}"


def _words(text: str) -> str:
    return VARIABLE.sub(lambda match: match[1].lower(), text)
