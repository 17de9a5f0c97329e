"""The verbs of the machine that hosts are deployed from: bundle, and what ends in -fleet, over ssh."""

import argparse
import shutil
import sys
from pathlib import Path

from deploy.describe.fleet_file import read_inventory
from deploy.describe.inventory import Inventory
from deploy.errors import PreflightError, Problem
from deploy.machine import run
from deploy.machine.world import World
from deploy.ship.fan_out import (
    BALANCING,
    FLEET,
    Reach,
    check_drain,
    deploy_command,
    hosts_file,
    verb_command,
    verifying,
)
from deploy.ship.run_bundle import BundleOptions, make_bundle
from deploy.verbs.host_verbs import AddVerb

ANSIBLE = "ansible-playbook"


def add_fleet_verbs(add: AddVerb) -> None:
    """Adds the verbs to the command line.

    Args:
        add: takes a verb's name, what carries it out, its description and parent parsers; gives its parser.
    """
    _add_bundle(add)
    reach = argparse.ArgumentParser(add_help=False)
    reach.add_argument("--fleet", type=Path, default=Path("fleet.toml"), help="the inventory (default ./fleet.toml)")
    reach.add_argument(
        "--out", type=Path, default=Path("build"), help="folder for Ansible's inventory (default ./build)"
    )
    reach.add_argument("--ssh-user", default="root", help="who logs in: root, or who may use sudo (default root)")
    reach.add_argument("--only", type=_names, default=(), metavar="HOST,...", help="work on these hosts (default: all)")
    deploy = add("deploy-fleet", _deploy, "Deploy a bundle on a canary, then on all hosts in batches.", reach)
    deploy.add_argument("--bundle", type=Path, required=True, help="what `make bundle` wrote")
    deploy.add_argument("--batch", type=int, default=1, help="hosts at once, after the canary (default 1)")
    add("rollback-fleet", _rollback, "Take every host back to its release before, one by one.", reach)
    for verb, text in (("drain", "Let those who balance send a host no requests."), ("undrain", "Undo drain-fleet.")):
        drain = add(f"{verb}-fleet", _drain, text, reach)
        drain.add_argument("name", metavar="HOST", help="name of the host")
        drain.set_defaults(verb_on_host=verb)


def _add_bundle(add: AddVerb) -> None:
    added = add("bundle", _bundle, "Pack code, wheels, model and fleet.toml for hosts without a network.")
    added.add_argument("--fleet", type=Path, default=Path("fleet.toml"), help="the fleet.toml (default ./fleet.toml)")
    added.add_argument("--out", type=Path, default=Path("build"), help="folder to write to (default ./build)")
    added.add_argument("--slice-mb", type=int, default=0, metavar="MB", help="also write slices of this size")
    added.add_argument("--picture", type=Path, help="what instances are checked with (default: from the sample video)")
    added.add_argument("--more-wheels", type=Path, metavar="DIR", help="wheels beside the lock's, such as TensorRT's")
    added.add_argument(
        "--sign-key", type=Path, metavar="FILE", help="ssh key to sign it with, for hosts that ask for that"
    )


def _bundle(options: argparse.Namespace, world: World) -> int:
    wanted = BundleOptions(
        options.fleet, options.out, options.picture, options.more_wheels, options.slice_mb, options.sign_key
    )
    make_bundle(wanted, world.say)
    return 0


def _deploy(options: argparse.Namespace, world: World) -> int:
    """Deploys on the canary, then on the other hosts in batches; stops at the first that fails."""
    inventory = _inventory(options)
    command = deploy_command(
        _reach(options),
        fleet_file=options.fleet.resolve(),
        bundle=options.bundle.resolve(),
        batch=options.batch,
        through=verifying(inventory, options.only),
    )
    return _run(options, inventory, command)


def _rollback(options: argparse.Namespace, world: World) -> int:
    return _run(options, _inventory(options), verb_command(_reach(options), FLEET, "rollback"))


def _drain(options: argparse.Namespace, world: World) -> int:
    inventory = _inventory(options)
    check_drain(inventory, options.name)
    return _run(options, inventory, verb_command(_reach(options), BALANCING, options.verb_on_host, options.name))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _inventory(options: argparse.Namespace) -> Inventory:
    inventory = read_inventory(options.fleet)
    for name in options.only:
        inventory.host(name)
    return inventory


def _reach(options: argparse.Namespace) -> Reach:
    return Reach(_ansible(), options.out / "ansible" / "hosts.json", options.only)


def _run(options: argparse.Namespace, inventory: Inventory, command: tuple[str, ...]) -> int:
    run.write_files(options.out / "ansible", (hosts_file(inventory, options.ssh_user),))
    return min(1, run.run_in_foreground(command))


def _ansible() -> tuple[str, ...]:
    beside = Path(sys.executable).with_name(ANSIBLE)
    if beside.exists():  # its first line names the folder it was installed in, which may have been moved since
        return (sys.executable, str(beside))
    if not (found := shutil.which(ANSIBLE)):
        raise PreflightError(Problem(ANSIBLE, "not found", "run `make dev`, or install ansible-core"))
    return (found,)
