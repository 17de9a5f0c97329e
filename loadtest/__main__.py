"""`python -m loadtest VERB`: loads a fleet with video, says what it held, and plans how many are needed.

`add_ui_verb`, `run_ui`: the verb `ui`: Locust's web page for a service, where runs are started by hand; Ctrl-C ends
it.

`add_worker_verb`, `run_worker`: a load generator for a run that another machine leads; it goes on to the next run
until it is interrupted.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("loadtest.__main__")


import argparse
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtest.capacity import command as capacity
from loadtest.errors import LoadTestError, OptionError, RunError
from loadtest.generate.locust_process import locust_process
from loadtest.generate.master_address import LOOPBACK, meeting_place
from loadtest.generate.prepare import check_video
from loadtest.generate.replay import Replay, replay
from loadtest.measure.summary import shortcomings
from loadtest.options import add_address, add_arguments, asked_url, checked_processes, from_namespace, to_arguments
from loadtest.plan import command as plan
from loadtest.report import results, table
from loadtest.report.progress import Progress
from loadtest.scenario import command as scenario
from loadtest.target import certificate
from loadtest.target.claim import folder_claim, target_claim

LAST_PORT = 65_535
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
    add_worker_verb(verbs)
    add_ui_verb(verbs)
    results.add_samples_verb(verbs)
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


def add_ui_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb to a command line."""
    text = "open Locust's web page for a service, on this machine alone; Ctrl-C ends it"
    parser = verbs.add_parser("ui", help=text, description=text)
    add_address(parser)
    parser.add_argument("--out", type=Path, default=Path("var/locust"), help="folder of its runs (default %(default)s)")
    parser.add_argument("--page-port", type=int, default=8089, help="port of the page (default %(default)s)")
    certificate.add_argument(parser)
    add_arguments(parser)
    parser.set_defaults(verb=run_ui)


def run_ui(namespace: argparse.Namespace) -> int:
    """Shows the page until it is interrupted.

    Raises:
        LoadTestError: an option makes no sense, or something else has the page's port.
    """
    url, options = asked_url(namespace), from_namespace(namespace)
    check_video(options)
    if not 1 <= namespace.page_port <= LAST_PORT:
        raise OptionError(f"--page-port={namespace.page_port}: must be from 1 to {LAST_PORT}")
    _demand_free(namespace.page_port)
    page = ("--web-host", LOOPBACK, "--web-port", str(namespace.page_port))
    arguments = ["--host", url, *page, "--run-dir", str(namespace.out.absolute()), *to_arguments(options)]
    with locust_process(arguments) as process:
        return process.wait()


def _demand_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise RunError(f"port {port}, for the page: {error.strerror}; give another with --page-port") from None


def add_worker_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb to a command line."""
    text = "make load for a scenario that another machine leads (its --bind); Ctrl-C ends it"
    parser = verbs.add_parser("worker", help=text, description=text)
    parser.add_argument("--master", required=True, metavar="ADDRESS:PORT", help="what the other machine's --bind says")
    certificate.add_argument(parser)
    parser.set_defaults(verb=run_worker)


def run_worker(namespace: argparse.Namespace) -> int:
    """Works until it is interrupted.

    Raises:
        OptionError: the address makes no sense.
    """
    arguments = locust_arguments(namespace.master)
    while True:
        with locust_process(arguments) as process:
            process.wait()


def locust_arguments(master: str) -> list[str]:
    """Plain Locust as a worker.

    Raises:
        OptionError: the address makes no sense.
    """
    host, port = meeting_place(master, "--master")
    return ["--worker", "--master-host", host, "--master-port", port, "--loglevel", "WARNING"]
