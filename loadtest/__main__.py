"""`python -m loadtest VERB`: loads a fleet with video, says what it held, and plans how many are needed."""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("loadtest.__main__")


import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtest.capacity import command as capacity
from loadtest.errors import LoadTestError, OptionError, RunError
from loadtest.generate import ui, worker
from loadtest.generate.prepare import check_video
from loadtest.generate.replay import Replay, replay
from loadtest.measure.summary import shortcomings
from loadtest.options import add_address, add_arguments, asked_url, checked_processes, from_namespace
from loadtest.plan import command as plan
from loadtest.report import export, results, table
from loadtest.report.progress import Progress
from loadtest.scenario import command as scenario
from loadtest.target import certificate
from loadtest.target.claim import folder_claim, target_claim

PASSED, FAILED, USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Args:
        arguments: the command line, without the program's name.

    Returns:
        The exit code: 0 done and every answer right, 1 not so, 2 usage; others as `framefleet.command`.
    """
    parser = _parser()
    namespace = parser.parse_args(arguments)
    if namespace.verb is None:
        parser.print_help()
        return PASSED
    try:
        if hasattr(namespace, "cacert"):
            certificate.trust(namespace.cacert, getattr(namespace, "url", None) or "")
        code: int = namespace.verb(namespace)
    except OptionError as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return USAGE
    except LoadTestError as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return FAILED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    parser.set_defaults(verb=None)
    verbs = parser.add_subparsers(metavar="VERB")
    play = verbs.add_parser("replay", help="replay a video as cameras, check every answer, write a report")
    add_address(play)
    play.add_argument("--check", action="store_true", help="only say whether options and video are right; ask nobody")
    play.add_argument("--out", type=Path, default=Path("var/report"), help="folder of the run (default %(default)s)")
    play.add_argument("--processes", type=int, default=1, help="that make the load (default %(default)s)")
    certificate.add_argument(play)
    add_arguments(play)
    play.set_defaults(verb=_replay)
    again = verbs.add_parser("report", help="make the report of a finished run again")
    again.add_argument("folder", type=Path, help="folder of the run")
    again.set_defaults(verb=_report)
    scenario.add_verb(verbs)
    worker.add_verb(verbs)
    ui.add_verb(verbs)
    export.add_verb(verbs)
    hold = verbs.add_parser("capacity", help="find out what a fleet holds, write capacity.json and a page")
    capacity.add_arguments(hold)
    hold.set_defaults(verb=capacity.run)
    buy = verbs.add_parser("plan", help="how many instances, GPUs and hosts a number of streams needs")
    plan.add_arguments(buy)
    buy.set_defaults(verb=plan.run_plan)
    trial = verbs.add_parser("simulate", help="plan, and try the plan in a simulation with a host that fails")
    plan.add_arguments(trial)
    trial.set_defaults(verb=plan.run_simulate)
    return parser


def _replay(namespace: argparse.Namespace) -> int:
    options, processes = from_namespace(namespace), checked_processes(namespace.processes)
    check_video(options)
    if namespace.check:
        return PASSED
    job = Replay(asked_url(namespace), options, namespace.out, processes=processes)
    # Until the verdict is out: another run must not be read in its place.
    with folder_claim(job.folder), target_claim(job.url):
        replay(job, Progress())
        return _report(argparse.Namespace(folder=job.folder))


def _report(namespace: argparse.Namespace) -> int:
    if not namespace.folder.is_dir():
        raise RunError(f"{namespace.folder}: no such folder; give the folder of a replay")
    # A run that goes on has no verdict yet.
    with folder_claim(namespace.folder):
        found = results.read(namespace.folder)
        print(table.render(found.summary))
        page = results.write_report(found, namespace.folder, Progress())
    print(f"report: {page}")
    return FAILED if shortcomings(found.summary) else PASSED
