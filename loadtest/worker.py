"""A load generator for a run that another machine leads; it goes on to the next run until it is interrupted."""

import argparse
import subprocess
import sys

from loadtest.errors import OptionError
from loadtest.replay import LOCUSTFILE, environment, stop


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb to a command line."""
    text = "make load for a scenario that another machine leads (its --bind); Ctrl-C ends it"
    parser = verbs.add_parser("worker", help=text, description=text)
    parser.add_argument("--master", required=True, metavar="ADDRESS:PORT", help="what the other machine's --bind says")
    parser.set_defaults(verb=run)


def run(namespace: argparse.Namespace) -> int:
    """Works until it is interrupted.

    Raises:
        OptionError: the address makes no sense.
    """
    command = locust_command(namespace.master)
    while True:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment())
        try:
            process.wait()
        finally:
            stop(process)


def locust_command(master: str) -> list[str]:
    """Plain Locust as a worker.

    Raises:
        OptionError: the address makes no sense.
    """
    host, _, port = master.rpartition(":")
    if not host or not port.isdecimal():
        raise OptionError(f"--master={master}: must be ADDRESS:PORT, as the leading machine's --bind")
    locust = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--worker"]
    return [*locust, "--master-host", host, "--master-port", port, "--loglevel", "WARNING"]
