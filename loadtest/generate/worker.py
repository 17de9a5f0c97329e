"""A load generator for a run that another machine leads; it goes on to the next run until it is interrupted."""

import argparse

from loadtest.generate.locust_process import locust_process
from loadtest.generate.meeting import meeting_place
from loadtest.target import certificate


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb to a command line."""
    text = "make load for a scenario that another machine leads (its --bind); Ctrl-C ends it"
    parser = verbs.add_parser("worker", help=text, description=text)
    parser.add_argument("--master", required=True, metavar="ADDRESS:PORT", help="what the other machine's --bind says")
    certificate.add_argument(parser)
    parser.set_defaults(verb=run)


def run(namespace: argparse.Namespace) -> int:
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
