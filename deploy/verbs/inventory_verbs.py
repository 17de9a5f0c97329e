"""The verbs about an inventory that change nothing: render, diff, devices; inventory_check has config-check."""

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from deploy.checks.checking import check_config
from deploy.checks.preflight import nginx_problems
from deploy.checks.service_check import setting_problems
from deploy.describe.file_names import in_file
from deploy.describe.fleet_file import problems_of, survey_file
from deploy.describe.inventory import Host, Inventory
from deploy.describe.tables import Doubts
from deploy.errors import CheckError, Problem, SettingsError
from deploy.files.render import render, render_monitoring
from deploy.fleet import PREFIX, Machine
from deploy.machine import run
from deploy.machine.devices import devices_to_json
from deploy.machine.world import World
from deploy.rendered_file import RenderedFile
from deploy.verbs.hosts import HostFleet, HostOptions, expand_fleets
from framefleet.whole_file import sha256

# What is rendered hangs on all of these.
RENDERED = ("hosts", "ports", "balancer", "tls", "limits", "system", "folders", "monitoring")


# Says again, in another form, what the other files say.
RECORD = PurePosixPath("fleet.json")


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


def check_inventory(options: HostOptions, out: Path, world: World) -> int:
    """Reads a fleet.toml and lets all who will read what is made of it say what they refuse.

    Args:
        options: the file, and which of its hosts.
        out: folder for a stage, which is cleared away.
        world: is told what is right.

    Raises:
        SettingsError: lists everything that is wrong, of which some is in the file itself.
        CheckError: lists everything that is wrong, as seen by nginx and the others.
    """
    inventory, problems = survey_file(options.file)
    doubts = Doubts(problems)
    fleets, not_expanded = expand_fleets(inventory, options, world, doubts)
    said = {problem.where for problem in problems}
    told = [problem for problem in _service_problems(inventory, options) if problem.where not in said]
    in_the_file = (*problems, *not_expanded, *told, *_missing_files(inventory, world))
    machine = run.this_machine(None, world.environ)
    of_others = [*nginx_problems(machine)]
    if not of_others and not doubts.about(*RENDERED):
        of_others += _check_hosts(fleets, out.absolute() / "stage", machine, world, quiet=bool(in_the_file))
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


def _missing_files(inventory: Inventory, world: World) -> Iterator[Problem]:
    """Files that a host has to have and that no bundle brings, if it is this machine."""
    if not any(host.is_on(world.hostname) for host in inventory.hosts):
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
    fleets: Sequence[HostFleet], stage: Path, machine: Machine, world: World, *, quiet: bool
) -> Iterator[Problem]:
    """Lets nginx, supervisor and systemd read every host's files."""
    for host in fleets:
        tls = host.fleet.balancer.tls
        whole = not tls or (tls.certificate.exists() and tls.key.exists())
        # Only root may open the ports of a host; and what is missing there must not hide the rest.
        elsewhere = None if host.here and machine.root and whole else machine
        complaints = check_config(host.fleet, stage, elsewhere)
        yield from (Problem(f"{host.name}: {each.where}", each.what, each.fix) for each in complaints)
        if not complaints and not quiet:
            count = len(host.fleet.instances)
            world.say(f"{host.name}: nginx, supervisor and systemd accept the configuration of {count} instance(s)")
