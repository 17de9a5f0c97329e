"""Looks whether this machine can run a fleet now: nginx, ports, settings and the files they name; changes nothing."""

import errno
import os
import socket
from collections.abc import Iterator

from deploy.check import Runner
from deploy.errors import Problem
from deploy.fleet import Fleet, Machine
from deploy.processes import port_owner
from deploy.service_check import service_problems


def preflight(fleet: Fleet, own_ports: frozenset[int], run: Runner) -> tuple[Problem, ...]:
    """Collects what would keep the fleet from starting.

    Args:
        fleet: what is wanted.
        own_ports: ports that a running fleet of the same folder holds; they are as good as free.
        run: runs a command and waits for its end.
    """
    return (
        *nginx_problems(fleet.machine),
        *service_problems(fleet, fleet.code, run),
        *port_problems(fleet, own_ports),
    )


def nginx_problems(machine: Machine) -> Iterator[Problem]:
    """Says so if there is no nginx to run."""
    nginx = machine.nginx
    if not (nginx.is_file() and os.access(nginx, os.X_OK)):
        yield Problem("nginx", f"not found ({nginx})", "install it: apt-get install nginx-light")


def port_problem(host: str, port: int) -> Problem | None:
    """Tries to listen on a port for a moment; returns why that cannot be done."""
    with socket.socket() as trial:
        # As nginx and gunicorn do: connections of an earlier server that linger are no reason to fail.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
            trial.listen(1)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return Problem(f"port {port}", error.strerror or str(error), "choose another port")
            owner = port_owner(port)
            by = f" by {owner}" if owner else ""
            return Problem(f"port {port}", f"already taken{by}", "free it or choose another port")
    return None


def port_problems(fleet: Fleet, own_ports: frozenset[int]) -> Iterator[Problem]:
    """Says which ports of a fleet are taken, but for those that are its own."""
    for host, port in fleet.addresses:
        if port not in own_ports and (problem := port_problem(host, port)):
            yield problem
