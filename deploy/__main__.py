"""The command line: `python -m deploy VERB`. Exit codes: 0 done, 1 failed, 2 options or settings make no sense.

Others are those of `framefleet.command`.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("deploy.__main__")


import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.allowance import MAX_AT_ONCE, Allowance
from deploy.checks.config_check import check_config
from deploy.checks.service_check import service_problems, setting_problems
from deploy.describe.fleet_file import read_inventory
from deploy.describe.local import FleetOptions, local_fleet
from deploy.describe.placement import EVENLY, MAX_CPUS, Own
from deploy.errors import CheckError, DeployError, SettingsError, raise_if
from deploy.files.render import render
from deploy.fleet import OWNED, Fleet
from deploy.machine import run
from deploy.machine.machine import Machine
from deploy.machine.ownership import note_of_root, resolved
from deploy.machine.target import Target
from deploy.paths import Folders, Paths, local_paths
from deploy.release import RECORD
from deploy.rollout.preflight import nginx_problems
from deploy.rollout.recipes import down, run_while_up, up
from deploy.verbs.fleet_verbs import (
    add_fleet_verbs,
    check_inventory,
    render_figures,
    render_hosts,
    show_devices,
    show_difference,
    write_and_list,
)
from deploy.verbs.host_verbs import add_host_verbs, known_picture, show_host, target_paths, this_target
from deploy.verbs.hosts import DEVICES_COMMAND, NO_RELEASE, HostOptions, find_fleets
from deploy.verbs.status import follow_logs, run_smoke, show_status

INTERRUPTED = 130
EPILOG = "VERB --help lists the options of one."
UNSEEN = {number: "?" for number in (*range(32), *range(127, 160)) if chr(number) not in "\t\n"}
LIMIT_OPTIONS = {
    "rate": "requests of one client per second; 0 is any number",
    "burst": "requests above that rate that may come at once",
    "concurrency": "requests of one client at once; 0 is any number",
    "connections": "requests of one address at once, whatever keys it brings; 0 is any number",
    "large": "the same of those whose body, or annotated picture, is kept on disk; 0 is any number",
}


def main(arguments: Sequence[str]) -> int:
    """Runs one verb; returns the process's exit code."""
    own, command = _split(arguments)
    parser = _parser()
    if not arguments:
        parser.print_help()
        return 0
    options = parser.parse_args(own)
    if (options.verb == "exec") != bool(command):
        parser.error("exec takes a command after --, and only exec does: exec [OPTIONS] -- COMMAND...")
    options.command = command
    try:
        return int(options.carry_out(options, Machine(say=_say)))
    except DeployError as error:
        print(str(error).translate(UNSEEN), file=sys.stderr)
        return error.exit_code


def _up(options: argparse.Namespace, machine: Machine) -> int:
    up(_fleet(options, machine), machine)
    return 0


def _exec(options: argparse.Namespace, machine: Machine) -> int:
    return run_while_up(_fleet(options, machine), options.command, machine, check=options.check)


def _down(options: argparse.Namespace, machine: Machine) -> int:
    down(_paths(options), machine)
    return 0


def _status(options: argparse.Namespace, machine: Machine) -> int:
    target = _target(options, machine)
    return show_host(target) if target else show_status(_paths(options), machine)


def _logs(options: argparse.Namespace, machine: Machine) -> int:
    target = _target(options, machine)
    paths = target_paths(target) if target else _paths(options)
    try:
        return follow_logs(paths, options.names, options.lines, options.follow, machine)
    except BrokenPipeError:  # `logs | head` has seen enough
        return 0
    except KeyboardInterrupt:  # that is how one leaves
        return INTERRUPTED


def _smoke(options: argparse.Namespace, machine: Machine) -> int:
    if target := _target(options, machine):
        return run_smoke(target_paths(target), options.image or known_picture(target), machine)
    return run_smoke(_paths(options), options.image, machine)


def _render(options: argparse.Namespace, machine: Machine) -> int:
    if options.fleet:
        render_figures(read_inventory(options.fleet), options.out, machine)
        return render_hosts(find_fleets(_host_options(options), machine), options.out, machine)
    write_and_list(render(_fleet(options, machine)), options.out / "etc", machine)
    return 0


def _config_check(options: argparse.Namespace, machine: Machine) -> int:
    if options.fleet:
        return check_inventory(_host_options(options), options.out, machine)
    try:
        fleet = _fleet(options, machine)
    except SettingsError as error:
        said = {problem.where for problem in error.problems}
        settings = {name: value for name, value in machine.environ.items() if name not in OWNED}
        more = setting_problems(settings, run.this_code(), machine.run, "settings")
        raise SettingsError([*error.problems, *(each for each in more if each.where not in said)]) from None
    found = [*nginx_problems(fleet.machine)]
    if not found:
        found += check_config(fleet, options.out.absolute() / "stage", machine)
    raise_if(CheckError, [*service_problems(fleet, fleet.code, machine.run), *found])
    machine.say(f"nginx, supervisor and the service accept the configuration of {len(fleet.instances)} instance(s)")
    return 0


def _diff(options: argparse.Namespace, machine: Machine) -> int:
    options.fleet = options.fleet or Folders().inventory
    (host,) = find_fleets(_host_options(options, here=True), machine)
    return show_difference(host, machine)


def _devices(options: argparse.Namespace, machine: Machine) -> int:
    return show_devices(machine)


def _host_options(options: argparse.Namespace, here: bool = False) -> HostOptions:
    return HostOptions(options.fleet, options.host, options.devices, options.release, here)


def _fleet(options: argparse.Namespace, machine: Machine) -> Fleet:
    for variable in sorted(OWNED & machine.environ.keys()):
        machine.say(f"note: {variable} is set, but a fleet gives every instance its own; ignored")
    if note := note_of_root(_paths(options)):
        machine.say(note)
    wanted = FleetOptions(
        var=_paths(options).state,
        instances=options.instances,
        port=options.port,
        instance_port=options.instance_port,
        model=options.model,
        release=options.release or NO_RELEASE,
        allowance=Allowance(options.rate, options.burst, options.concurrency, options.connections, options.large),
        cpus_per_instance=options.cpus_per_instance,
    )
    facts = run.host_facts(options.nginx, machine.environ)
    return local_fleet(wanted, facts, run.this_cpus(), run.this_code(), machine.environ)


def _paths(options: argparse.Namespace) -> Paths:
    return local_paths(resolved(options.var or Path("var")))


def _target(options: argparse.Namespace, machine: Machine) -> Target | None:
    """The host this is a release of, unless a fleet in some folder is meant."""
    return None if options.var else this_target(machine)


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Everything after the first -- is the command of `exec`, whatever it looks like."""
    own = list(arguments)
    at = own.index("--") if "--" in own else len(own)
    return own[:at], own[at + 1 :]


def _say(line: str) -> None:
    # Lines of logs come from others, who must not steer the terminal.
    print(line.translate(UNSEEN), flush=True)


def _parser() -> argparse.ArgumentParser:
    # As tools/framefleet is called, which a release has.
    name = "framefleet" if (run.this_code().repo / RECORD).exists() else "python -m deploy"
    parser = argparse.ArgumentParser(prog=name, description="Runs a fleet of detector instances.", epilog=EPILOG)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", title="verbs")
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--var", type=Path, help="the fleet's folder (default ./var; on a host, what is deployed)")
    wish = _fleet_options(place)
    inventory = _inventory_options()
    build = argparse.ArgumentParser(add_help=False)
    build.add_argument("--out", type=Path, default=Path("build"), help="folder to write to (default ./build)")

    def verb(name: str, carry_out: object, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text, parents=parents)
        added.set_defaults(carry_out=carry_out)
        return added

    verb("up", _up, "Start the fleet, or change a running one to what is asked for.", wish)
    text = "Run a COMMAND (after --) while the fleet is up; stop the fleet only if this started it."
    execute = verb("exec", _exec, text, wish)
    execute.add_argument("--check", action="store_true", help="first run COMMAND --check; start nothing if that fails")
    verb("status", _status, "Show every program; exit code 0 only if all are well.", place)
    logs = verb("logs", _logs, "Show the end of the logs, and follow them.", place)
    logs.add_argument("names", nargs="*", metavar="NAME", help="programs (default: all)")
    logs.add_argument("--lines", type=_whole, default=10, help="lines of each log to begin with (default 10)")
    logs.add_argument("--no-follow", dest="follow", action="store_false", help="stop at the end")
    smoke = verb("smoke", _smoke, "Send one picture to every instance and the balancer, and check the answers.", place)
    smoke.add_argument("--image", type=Path, help="picture to send (default: first frame of the sample video)")
    verb("down", _down, "Stop everything; requests in flight are answered first.", place)
    verb("render", _render, "Write the configuration files without using them.", wish, inventory, build)
    text = "Let nginx, supervisor and systemd read the configuration."
    verb("config-check", _config_check, text, wish, inventory, build)
    diff = verb("diff", _diff, "Show what would change in the files this host runs with.", inventory)
    diff.add_argument("--release", help="id to render for (default: the one that runs here)")
    text = (
        "Show this machine's GPUs and CPUs as JSON; render, config-check and diff take it elsewhere as --devices FILE."
    )
    verb("devices", _devices, text).epilog = f"To keep it: {DEVICES_COMMAND}"
    add_fleet_verbs(verb)
    add_host_verbs(verb)
    return parser


def _fleet_options(place: argparse.ArgumentParser) -> argparse.ArgumentParser:
    default = FleetOptions(var=Path())
    wish = argparse.ArgumentParser(add_help=False, parents=[place])
    wish.add_argument("--instances", type=_whole, default=default.instances, help="how many (default %(default)s)")
    wish.add_argument("--port", type=_whole, default=default.port, help="nginx's port (default %(default)s)")
    wish.add_argument(
        "--instance-port",
        type=_whole,
        default=default.instance_port,
        help="the first instance's port (default %(default)s)",
    )
    text = "CPUs that each instance has for itself; auto deals them out, 0 shares them (default %(default)s)"
    wish.add_argument("--cpus-per-instance", type=_own_cpus, default=default.cpus_per_instance, help=text)
    wish.add_argument("--model", help="path or simulated:... (default: FRAMEFLEET_MODEL, then the default model)")
    wish.add_argument("--release", help=f"id shown by /readyz (default {NO_RELEASE}; of a host, the one that runs)")
    for name, why in LIMIT_OPTIONS.items():
        value = getattr(default.allowance, name)
        wish.add_argument(f"--{name}", type=_limit, default=value, help=f"{why} (default %(default)s)")
    wish.add_argument("--nginx", type=Path, help="the nginx binary (default: looked for)")
    return wish


def _whole(text: str) -> int:
    # int() would take 80_80, and digits of other scripts.
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,20}\s*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def _own_cpus(text: str) -> Own:
    if text == EVENLY:
        return EVENLY
    try:
        number = _whole(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, nor auto") from None
    if not 0 <= number <= MAX_CPUS:
        raise argparse.ArgumentTypeError(f"{text} is outside 0-{MAX_CPUS}")
    return number


def _limit(text: str) -> int:
    number = _whole(text)
    if not 0 <= number <= MAX_AT_ONCE:
        raise argparse.ArgumentTypeError(f"{text} is outside 0-{MAX_AT_ONCE}")
    return number


def _inventory_options() -> argparse.ArgumentParser:
    inventory = argparse.ArgumentParser(add_help=False)
    inventory.add_argument("--fleet", type=Path, help="the fleet.toml of hosts (default: a fleet on this machine)")
    inventory.add_argument("--host", help="one of its hosts (default: all; for diff the one that is here)")
    inventory.add_argument(
        "--devices",
        type=Path,
        metavar="FILE",
        help=f"that host's GPUs and CPUs (default: this machine's if it is that host, else assumed): {DEVICES_COMMAND}",
    )
    return inventory
