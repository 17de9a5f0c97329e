"""Looks whether this machine can run a fleet now: nginx, ports, settings and the files they name; changes nothing."""

import os
from collections.abc import Iterator

from deploy.checks.service_check import service_problems
from deploy.errors import Problem
from deploy.fleet import Fleet, Machine
from deploy.machine.command import Runner
from deploy.machine.processes import port_owner
from framefleet.machine.listening import try_to_listen

BUILT_WITH = "configure arguments:"
AUTH_REQUEST = "http_auth_request_module"


def preflight(fleet: Fleet, own_ports: frozenset[int], run: Runner) -> tuple[Problem, ...]:
    """Collects what would keep the fleet from starting.

    Args:
        fleet: what is wanted.
        own_ports: ports that a running fleet of the same folder holds; they are as good as free.
        run: runs a command and waits for its end.
    """
    return (
        *nginx_problems(fleet.machine),
        *key_check_problems(fleet, run),
        *service_problems(fleet, fleet.code, run),
        *port_problems(fleet, own_ports),
    )


def nginx_problems(machine: Machine) -> Iterator[Problem]:
    """Says so if there is no nginx to run."""
    nginx = machine.nginx
    if not (nginx.is_file() and os.access(nginx, os.X_OK)):
        yield Problem("nginx", f"not found ({nginx})", "install it: apt-get install nginx-light")


def key_check_problems(fleet: Fleet, run: Runner) -> Iterator[Problem]:
    """Says so if there are keys, and an nginx that cannot ask about one before it reads a body."""
    nginx = fleet.machine.nginx
    if not (fleet.balancer.by_key and nginx.is_file() and os.access(nginx, os.X_OK)):
        return
    built = run((str(nginx), "-V")).output
    if BUILT_WITH in built and AUTH_REQUEST not in built:
        fix = "install one that has it, such as the distribution's: apt-get install nginx-light"
        yield Problem("nginx", f"{nginx} is built without {AUTH_REQUEST}, which API keys need", fix)


def port_problem(host: str, port: int) -> Problem | None:
    """Tries to listen on a port for a moment; returns why that cannot be done."""
    refusal = try_to_listen(host, port)
    if refusal is None:
        return None
    owner = port_owner(port) if refusal.reason == "taken" else ""
    where = f"port {port}" if refusal.reason in ("taken", "forbidden") else f"address {host}"
    return Problem(where, f"{refusal.what} by {owner}" if owner else refusal.what, refusal.fix)


def port_problems(fleet: Fleet, own_ports: frozenset[int]) -> Iterator[Problem]:
    """Says which ports of a fleet are taken, but for those that are its own."""
    for host, port in fleet.addresses:
        if port not in own_ports and (problem := port_problem(host, port)):
            yield problem
