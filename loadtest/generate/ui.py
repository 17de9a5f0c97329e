"""The verb `ui`: Locust's web page for a service, where runs are started by hand; Ctrl-C ends it."""

import argparse
import socket
from pathlib import Path

from loadtest.errors import OptionError, RunError
from loadtest.generate.locust_process import locust_process
from loadtest.generate.meeting import LOOPBACK
from loadtest.generate.prepare import check_video
from loadtest.options import add_address, add_arguments, asked_url, from_namespace, to_arguments
from loadtest.target import certificate

LAST_PORT = 65_535


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb to a command line."""
    text = "open Locust's web page for a service, on this machine alone; Ctrl-C ends it"
    parser = verbs.add_parser("ui", help=text, description=text)
    add_address(parser)
    parser.add_argument("--out", type=Path, default=Path("var/locust"), help="folder of its runs (default %(default)s)")
    parser.add_argument("--page-port", type=int, default=8089, help="port of the page (default %(default)s)")
    certificate.add_argument(parser)
    add_arguments(parser)
    parser.set_defaults(verb=run)


def run(namespace: argparse.Namespace) -> int:
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
