"""The verbs of the machine that hosts are deployed from: bundle, and what ends in -fleet, over ssh.

`differences`: shows how rendered files differ from those that are there.

`Reach`: decides which commands reach which hosts over ssh, and in which order; Ansible does the reaching.

Flow: fleet.toml [Inventory] -> hosts_file [RenderedFile] + playbook (argv) -> ansible-playbook -> the hosts' own verbs.

`check_inventory`: says everything that is wrong with a fleet.toml and what is made of it, at once and in the file's
own names.

Flow: fleet.toml -> survey [Problem...] + the service on settings and model + files of this host + [HostFleet...] as
nginx, supervisor and systemd read them [Problem...] -> one list.

The verbs about an inventory that change nothing: render, diff, devices.
"""

import argparse
import difflib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from deploy.checks.config_check import check_config
from deploy.checks.service_check import setting_problems
from deploy.describe.file_names import in_file
from deploy.describe.fleet_file import problems_of, read_inventory, survey_file
from deploy.describe.inventory import Host, Inventory
from deploy.describe.tables import Doubts
from deploy.errors import CheckError, PreflightError, Problem, SettingsError
from deploy.files.render import render, render_monitoring
from deploy.fleet import PREFIX, HostFacts
from deploy.machine import run
from deploy.machine.devices import devices_to_json
from deploy.machine.machine import Machine
from deploy.rendered_file import RenderedFile
from deploy.rollout.preflight import nginx_problems
from deploy.ship.run_bundle import BundleOptions, make_bundle
from deploy.verbs.host_verbs import AddVerb
from deploy.verbs.hosts import HostFleet, HostOptions, expand_fleets
from framefleet.whole_file import sha256

# What is rendered hangs on all of these.
RENDERED = ("hosts", "ports", "balancer", "tls", "limits", "system", "folders", "monitoring")
# Says again, in another form, what the other files say.
RECORD = PurePosixPath("fleet.json")


PLAYBOOKS = Path(__file__).resolve().parents[1] / "ansible"
BOOTSTRAP = Path(__file__).resolve().parents[2] / "tools" / "deploy.sh"
# Groups of the rendered inventory.
FLEET: Literal["fleet"] = "fleet"
BALANCING: Literal["balancing"] = "balancing"
ANSIBLE = "ansible-playbook"


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


def _bundle(options: argparse.Namespace, machine: Machine) -> int:
    wanted = BundleOptions(
        options.fleet, options.out, options.picture, options.more_wheels, options.slice_mb, options.sign_key
    )
    make_bundle(wanted, machine.say)
    return 0


def _deploy(options: argparse.Namespace, machine: Machine) -> int:
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


def _rollback(options: argparse.Namespace, machine: Machine) -> int:
    return _run(options, _inventory(options), verb_command(_reach(options), FLEET, "rollback"))


def _drain(options: argparse.Namespace, machine: Machine) -> int:
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


def render_hosts(found: Sequence[HostFleet], out: Path, machine: Machine) -> int:
    """Writes every host's files into a folder of its name."""
    for host in found:
        write_and_list(render(host.fleet), out / host.name, machine)
    return 0


def render_figures(inventory: Inventory, out: Path, machine: Machine) -> None:
    """Writes what Prometheus and Grafana are given."""
    write_and_list(render_monitoring(inventory), out / "monitoring", machine)


def write_and_list(files: Sequence[RenderedFile], folder: Path, machine: Machine) -> None:
    """Makes a folder hold these files, and shows the path of each."""
    run.write_files(folder, files)
    for file in files:
        machine.say(str(folder / file.path))


def show_difference(host: HostFleet, machine: Machine) -> int:
    """Shows what would change in the files this host runs with."""
    lines = tuple(differences(render(host.fleet), run.read_files(host.fleet.paths.etc)))
    for line in lines or (f"{host.name}: nothing would change",):
        machine.say(line)
    return 0


def show_devices(machine: Machine) -> int:
    """Shows this machine's GPUs and CPUs as JSON, for `--devices` elsewhere."""
    machine.say(devices_to_json(run.this_devices()).rstrip())
    return 0


def differences(files: Sequence[RenderedFile], present: Mapping[PurePosixPath, str]) -> Iterator[str]:
    """Lines of a unified diff from what is there to what was rendered; none if they agree.

    Args:
        files: what was rendered.
        present: text of the files that are there, by their path.
    """
    wanted = {file.path: file.text for file in files}
    for path in sorted((wanted.keys() | present.keys()) - {RECORD}):
        yield from difflib.unified_diff(
            present.get(path, "").splitlines(),
            wanted.get(path, "").splitlines(),
            f"present/{path}" if path in present else "/dev/null",
            f"wanted/{path}" if path in wanted else "/dev/null",
            lineterm="",
        )


def check_inventory(options: HostOptions, out: Path, machine: Machine) -> int:
    """Reads a fleet.toml and lets all who will read what is made of it say what they refuse.

    Args:
        options: the file, and which of its hosts.
        out: folder for a stage, which is cleared away.
        machine: is told what is right.

    Raises:
        SettingsError: lists everything that is wrong, of which some is in the file itself.
        CheckError: lists everything that is wrong, as seen by nginx and the others.
    """
    inventory, problems = survey_file(options.file)
    doubts = Doubts(problems)
    fleets, not_expanded = expand_fleets(inventory, options, machine, doubts)
    said = {problem.where for problem in problems}
    told = [problem for problem in _service_problems(inventory, options) if problem.where not in said]
    in_the_file = (*problems, *not_expanded, *told, *_missing_files(inventory, machine))
    facts = run.host_facts(None, machine.environ)
    of_others = [*nginx_problems(facts)]
    if not of_others and not doubts.about(*RENDERED):
        of_others += _check_hosts(fleets, out.absolute() / "stage", facts, machine, quiet=bool(in_the_file))
    everything = tuple(dict.fromkeys((*problems_of(options.file, in_the_file), *of_others)))
    if everything:
        raise (SettingsError if in_the_file else CheckError)(everything)
    return 0


def _service_problems(inventory: Inventory, options: HostOptions) -> Iterator[Problem]:
    """What the service says of the settings of each host that has others, and of the model if it is here."""
    model, file = inventory.model, options.file.parent / inventory.model.file
    served = {}
    if model.simulated:
        served = {f"{PREFIX}MODEL": model.file}
    elif file.is_file():
        served = {f"{PREFIX}MODEL": str(file.absolute())}
        if model.sha256 and (found := sha256(file)) != model.sha256:
            yield Problem("model.sha256", f"{file} has {found}", "correct it, or put the right file there")
    # All that a host does not say itself is the same; an inventory without hosts has settings too.
    own: dict[tuple[tuple[str, str], ...], Host | None] = {(): None}
    own |= {tuple(sorted(host.settings.items())): host for host in inventory.hosts}
    for settings, host in own.items():
        asked = {**inventory.settings, **dict(settings), **served}
        for problem in setting_problems(asked, run.this_code(), run.run_command, "files" if served else "settings"):
            yield in_file(problem, inventory, host)


def _missing_files(inventory: Inventory, machine: Machine) -> Iterator[Problem]:
    """Files that a host has to have and that no bundle brings, if it is this machine."""
    if not any(host.is_on(machine.hostname) for host in inventory.hosts):
        return
    tls, keys = inventory.balancing.tls, inventory.keys
    wanted = {
        "tls.certificate": tls.certificate if tls else None,
        "tls.key": tls.key if tls else None,
        "keys.file": keys.file,
        "keys.own": keys.own,
    }
    for where, file in wanted.items():
        if file and file != Path() and not os.path.exists(file):
            yield Problem(where, f"{file} is not on this host, or not to be seen by you", "put it there, or correct it")


def _check_hosts(
    fleets: Sequence[HostFleet], stage: Path, facts: HostFacts, machine: Machine, *, quiet: bool
) -> Iterator[Problem]:
    """Lets nginx, supervisor and systemd read every host's files."""
    for host in fleets:
        tls = host.fleet.balancer.tls
        whole = not tls or (tls.certificate.exists() and tls.key.exists())
        # Only root may open the ports of a host; and what is missing there must not hide the rest.
        elsewhere = None if host.here and facts.root and whole else facts
        complaints = check_config(host.fleet, stage, machine, elsewhere)
        yield from (Problem(f"{host.name}: {each.where}", each.what, each.fix) for each in complaints)
        if not complaints and not quiet:
            count = len(host.fleet.instances)
            machine.say(f"{host.name}: nginx, supervisor and systemd accept the configuration of {count} instance(s)")
