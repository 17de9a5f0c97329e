"""Replays a video as cameras through Locust, open loop: `locust -f loadtest/generate/locustfile.py [--host http://...]`.

One Locust user per process is the dispatcher of its cameras: each frame is fired at its scheduled moment in a greenlet
of its own, whether or not earlier ones were answered. Locust's statistics get the time from the scheduled moment, so
its table and web page show stalls too; the raw samples in the run folder are what our report is made from. With
`--processes`, or `--master` and `--worker`, the schedule is dealt out to the workers.
"""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import gevent
from locust import FastHttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import WORKER_REPORT_INTERVAL, MasterRunner, WorkerRunner

from framefleet.http.running import NoFleetError, running_address
from loadtest.errors import LoadTestError, OptionError
from loadtest.generate import prepare
from loadtest.generate.collect import Collector
from loadtest.generate.distributed import Leader, Member
from loadtest.generate.locust_process import settle
from loadtest.generate.master_address import LOOPBACK
from loadtest.generate.run import Run
from loadtest.options import ReplayOptions, add_arguments, checked_url, from_namespace
from loadtest.target import certificate
from loadtest.target.claim import folder_claim, target_claim

DEFAULT_RUN_DIR = "var/locust"
NOT_DONE = 2
# Locust writes its CSV files once a second and not at its end: the last answers would be missing there.
CSV_LINGER_S = 1.5
LOG = logging.getLogger("loadtest")


def _add_arguments(parser: LocustArgumentParser) -> None:
    # Straight to the parser, not to a group: only then does Locust's web page show them.
    add_arguments(parser)
    parser.add_argument("--var", default="var", help="folder of the fleet to ask where there is no --host")
    parser.add_argument("--run-dir", default=DEFAULT_RUN_DIR, help=f"where samples go (default {DEFAULT_RUN_DIR})")
    parser.add_argument(
        "--references", default="", help="file of reference answers (default: take them before the load)"
    )
    # Locust's are every address of the machine; whoever reaches one of these ports gives orders.
    parser.set_defaults(master_bind_host=LOOPBACK, web_host=LOOPBACK)


def _set_up(environment: Environment, runner: object, **others: object) -> None:
    """Gives a master or a worker its half of the conversation; a process on its own needs none."""
    settle()
    if not isinstance(runner, WorkerRunner) and not environment.host:
        _ask_running_fleet(environment)
    if isinstance(runner, WorkerRunner):
        Cameras.fixed_count, Cameras.member = 0, Member(runner)
    elif isinstance(runner, MasterRunner):
        Cameras.fixed_count, lead = 0, Leader(runner)
        settings = environment.parsed_options or argparse.Namespace()
        # One dispatcher for each process, unless someone asked for another number.
        settings.num_users = settings.num_users or settings.expect_workers
        starts = environment.events.test_start
        starts.add_listener(lambda environment: gevent.spawn(_conduct, environment, lead))  # type: ignore[no-untyped-call]


def _ask_running_fleet(environment: Environment) -> None:
    """Takes the running fleet's address; without a fleet it can be given on the web page alone."""
    settings = environment.parsed_options or argparse.Namespace()
    try:
        environment.host = running_address(Path(settings.var))
    except NoFleetError as error:
        LOG.error("--host: %s", error)
        if not environment.web_ui:
            sys.exit(NOT_DONE)


events.init_command_line_parser.add_listener(_add_arguments)  # type: ignore[no-untyped-call]
events.init.add_listener(_set_up)  # type: ignore[no-untyped-call]


class Cameras(FastHttpUser):
    """The dispatcher of this process's cameras; its one task is the whole run."""

    fixed_count = 1
    member: Member | None = None
    wait_time = constant(0)
    # A redirect is an answer like any other here: not the promised one.
    max_redirects = 0
    # By default Locust sends to whoever answers, an API key too.
    insecure = False
    ssl_context_factory = staticmethod(certificate.context)

    def __init__(self, environment: Environment) -> None:
        self._settings = environment.parsed_options or argparse.Namespace()
        self.network_timeout = self.connection_timeout = self._settings.wait_s
        # One kept-alive connection for each frame that may be in flight, or sends would wait for each other.
        self.concurrency = max(1, self._settings.cameras * self._settings.in_flight)
        super().__init__(environment)
        # Every status is judged by us; by default Locust formats the whole body of each non-2xx into an error text.
        self.client.client.valid_response_codes = frozenset(range(100, 600))  # type: ignore[misc]
        # Cameras keep no cookies; looking for some costs CPU on every request.
        self.client.client.cookiejar = None

    @task
    def replay(self) -> None:
        """Makes the run, or this process's part of it."""
        if self.member is None:
            _leave_after(self.environment, self._alone)
        else:
            self._together(self.member)
        raise StopUser

    def _alone(self) -> None:
        options, url, folder, given = _wanted(self.environment)
        with folder_claim(folder), target_claim(url):
            work = prepare.load(options)
            references = prepare.lead(options, work, url, folder, given)
            with Collector(folder, 1) as collector:
                Run(self, options, prepare.prepare(options, work, references), collector.outlet(0)).make()

    def _together(self, member: Member) -> None:
        try:
            options = from_namespace(self._settings)
            work = prepare.load(options)
        except LoadTestError as error:
            LOG.error("%s", error)
            member.give_up(str(error))
            return
        orders, outlet = member.join(work.frames.digest)
        prepared = prepare.prepare(options, work, orders.references, orders.part, orders.parts)
        Run(self, options, prepared, outlet).make(orders.start)


def _conduct(environment: Environment, lead: Leader) -> None:
    def conduct() -> None:
        options, url, folder, given = _wanted(environment)
        runner = environment.runner
        parts = runner.target_user_count if isinstance(runner, MasterRunner) else 1
        with folder_claim(folder), target_claim(url):
            lead.conduct(options, url, folder, given, parts)

    _leave_after(environment, conduct)


def _wanted(environment: Environment) -> tuple[ReplayOptions, str, Path, Path | None]:
    """Options, service, run folder and file of references, as they were asked for."""
    if not environment.host:
        raise OptionError("--host: name the service, or start a fleet with `make up`")
    settings = environment.parsed_options or argparse.Namespace()
    given = Path(settings.references) if settings.references else None
    return from_namespace(settings), checked_url(environment.host, "--host"), Path(settings.run_dir), given


def _leave_after(environment: Environment, act: Callable[[], None]) -> None:
    """Acts, then ends Locust (or its test, under the web page)."""
    done = False
    try:
        act()
        done = True
    except LoadTestError as error:
        LOG.error("%s", error)
    finally:
        _leave(environment, done)


def _leave(environment: Environment, done: bool) -> None:
    """Ends the run from a greenlet of its own, for the runner would wait for this one."""
    runner = environment.runner
    if runner is None:
        return
    if environment.web_ui:
        gevent.spawn(runner.stop)
        return
    if not done:
        environment.process_exit_code = NOT_DONE
    settings = environment.parsed_options or argparse.Namespace()
    # Workers tell their statistics every few seconds.
    linger_s = CSV_LINGER_S + (WORKER_REPORT_INTERVAL if isinstance(runner, MasterRunner) else 0.0)
    gevent.spawn_later(linger_s if settings.csv_prefix else 0.0, runner.quit)
