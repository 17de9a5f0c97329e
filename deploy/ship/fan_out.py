"""Decides which commands reach which hosts over ssh, and in which order; Ansible does the reaching.

Flow: fleet.toml [Inventory] -> hosts_file [RenderedFile] + playbook (argv) -> ansible-playbook -> the hosts' own verbs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from deploy.describe.inventory import Host, Inventory
from deploy.errors import Problem, SettingsError
from deploy.rendered_file import RenderedFile

PLAYBOOKS = Path(__file__).resolve().parents[1] / "ansible"
BOOTSTRAP = Path(__file__).resolve().parents[2] / "tools" / "deploy.sh"
# Groups of the rendered inventory.
FLEET: Literal["fleet"] = "fleet"
BALANCING: Literal["balancing"] = "balancing"


@dataclass(frozen=True, slots=True)
class Reach:
    """How the hosts are reached.

    Attributes:
        program: the command that is ansible-playbook.
        hosts_file: the rendered inventory of hosts.
        only: names of hosts to work on; empty for all.
    """

    program: tuple[str, ...]
    hosts_file: Path
    only: tuple[str, ...] = ()


def hosts_file(inventory: Inventory, ssh_user: str) -> RenderedFile:
    """Renders Ansible's inventory.

    Args:
        inventory: the fleet's.
        ssh_user: who logs in on the hosts: root, or one who may use sudo without a password.
    """
    ordered = in_order(inventory)
    groups = {
        FLEET: {"hosts": {host.name: {"ansible_host": host.address} for host in ordered}},
        BALANCING: {"hosts": {host.name: {} for host in ordered if host.name in balancing(inventory)}},
    }
    everywhere = {
        "ansible_user": ssh_user,
        # Looking for one takes a round trip, and prints a warning.
        "ansible_python_interpreter": "/usr/bin/python3",
        "install": str(inventory.folders.install),
    }
    text = json.dumps({"all": {"vars": everywhere, "children": groups}}, indent=2)
    return RenderedFile(PurePosixPath("hosts.json"), text + "\n")


def in_order(inventory: Inventory) -> tuple[Host, ...]:
    """The order of a deploy: the canary, which is the first host that only serves; last, who balances over others."""
    last = balancing(inventory) if inventory.balancing.mode != "each" else ()
    return tuple(sorted(inventory.hosts, key=lambda host: host.name in last))


def balancing(inventory: Inventory) -> tuple[str, ...]:
    """Names of the hosts that take clients' requests."""
    if inventory.balancing.mode == "each":
        return tuple(host.name for host in inventory.hosts)
    return inventory.balancing.hosts


def verifying(inventory: Inventory, only: Sequence[str]) -> tuple[str, ...]:
    """Names of the hosts through which a deploy is verified: one that is dead, and so left out, is not among them."""
    named = tuple(name for name in balancing(inventory) if name in only)
    return named or balancing(inventory)


def deploy_command(
    reach: Reach, *, fleet_file: Path, bundle: Path, batch: int, through: Sequence[str]
) -> tuple[str, ...]:
    """The command that deploys a bundle on every host.

    Args:
        reach: how hosts are reached.
        fleet_file: the fleet.toml they get.
        bundle: what `make bundle` wrote.
        batch: hosts at once, after the canary.
        through: names of hosts whose balancers have to answer after each host.

    Raises:
        SettingsError: the bundle is not there, or the batch is no number of hosts.
    """
    problems = []
    if not bundle.is_file():
        problems.append(Problem(f"--bundle {bundle}", "no such file", "make one with `make bundle`"))
    if batch < 1:
        problems.append(Problem("--batch", f"{batch} is no number of hosts", "say 1 or more"))
    if problems:
        raise SettingsError(problems)
    carried = {"bundle": str(bundle), "bootstrap": str(BOOTSTRAP), "fleet_file": str(fleet_file)}
    return _playbook(reach, "deploy.yml", {**carried, "batch": batch, "through": list(through)})


def verb_command(reach: Reach, where: Literal["fleet", "balancing"], verb: str, of: str = "") -> tuple[str, ...]:
    """The command that runs one verb of the hosts' own command line on a group of them.

    Args:
        reach: how hosts are reached.
        where: group of the hosts.
        verb: what `framefleet` is told.
        of: its argument; empty for none.
    """
    return _playbook(reach, "verb.yml", {"where": where, "verb": verb, "of": of})


def check_drain(inventory: Inventory, name: str) -> None:
    """Makes sure that there is somebody who can stop sending a host requests.

    Raises:
        SettingsError: there is no such host, or nobody balances over it.
    """
    inventory.host(name)
    if inventory.balancing.mode == "each":
        what = "every host is asked by clients directly, so no other one can keep requests from it"
        raise SettingsError(Problem(f"host {name}", what, 'send clients elsewhere, or use balancer.mode "edge"'))


def _playbook(reach: Reach, name: str, given: dict[str, Any]) -> tuple[str, ...]:
    only: Sequence[str] = ("--limit", ",".join(reach.only)) if reach.only else ()
    settings = f"ANSIBLE_CONFIG={PLAYBOOKS / 'ansible.cfg'}"
    called = (*reach.program, "--inventory", str(reach.hosts_file), *only, "--extra-vars", json.dumps(given))
    return ("env", settings, *called, str(PLAYBOOKS / name))
