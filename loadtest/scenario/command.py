"""The verb `scenario`: arguments -> [Profile] -> [Outcome] -> exit code."""

import argparse
from dataclasses import asdict
from pathlib import Path

from loadtest.generate.meeting import checked_bind
from loadtest.generate.prepare import check_video
from loadtest.options import add_address, add_arguments, asked_url, checked_processes
from loadtest.scenario import profile
from loadtest.scenario.bench import Bench
from loadtest.scenario.outcome import carry_out, check, forget, tell
from loadtest.scenario.profile import Plan
from loadtest.target import certificate
from loadtest.target.claim import folder_claim, target_claim

PASSED, FAILED = 0, 1


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb to a command line."""
    names = ", ".join(profile.names())
    text = f"make one scenario ({names}, or a .toml file); exit code 0 only if it passes"
    parser = verbs.add_parser("scenario", help=text, description=text, argument_default=argparse.SUPPRESS)
    parser.add_argument("name", metavar="NAME", help="the scenario")
    add_address(parser)
    parser.add_argument("--out", type=Path, default=Path("var/scenario"), help="folder (default %(default)s/NAME)")
    parser.add_argument("--processes", type=int, default=1, help="that make the load (default %(default)s)")
    parser.add_argument("--bind", default="", help="ADDRESS:PORT: wait there for so many workers of other machines")
    parser.add_argument("--resume", action="store_true", default=False, help="keep the steps of a cut-short scenario")
    for name, default in asdict(Plan()).items():
        if name != "ladder":
            parser.add_argument(
                "--" + name.replace("_", "-"), type=type(default), help=f"see the profile's plan.{name}"
            )
    certificate.add_argument(parser)
    add_arguments(parser, defaults=False)
    parser.set_defaults(verb=run)


def run(namespace: argparse.Namespace) -> int:
    """Makes the scenario.

    Raises:
        LoadTestError: an option makes no sense, or a step could not be made.
    """
    processes, given = checked_processes(namespace.processes), vars(namespace)
    wanted = profile.changed(profile.read(namespace.name), given)
    check(wanted, given)
    check_video(wanted.load)
    bench = Bench(
        url=asked_url(namespace),
        load=wanted.load,
        plan=wanted.plan,
        folder=namespace.out / wanted.name,
        say=_say,
        processes=processes,
        bind=checked_bind(namespace.bind),
    )
    with folder_claim(bench.folder), target_claim(bench.url):
        if not namespace.resume:
            forget(bench.folder)
        print(f"{wanted.name}: {wanted.about}", flush=True)
        outcome = carry_out(wanted, bench)
    tell(outcome, _say)
    return PASSED if outcome.passed else FAILED


def _say(line: str) -> None:
    print(line, flush=True)
