"""Looks whether this machine can run a fleet now: nginx, the model file and the ports; changes nothing."""

import os
from collections.abc import Iterator

from deploy.errors import Problem
from deploy.fleet import PREFIX, SIMULATED, Fleet, Machine
from deploy.processes import port_owner
from framefleet.listening import try_to_listen


def preflight(fleet: Fleet, own_ports: frozenset[int]) -> tuple[Problem, ...]:
    """Collects what would keep the fleet from starting.

    Args:
        fleet: what is wanted.
        own_ports: ports that a running fleet of the same folder holds; they are as good as free.
    """
    return (
        *nginx_problems(fleet.machine),
        *_model_problems(fleet),
        *_key_problems(fleet),
        *port_problems(fleet, own_ports),
    )


def nginx_problems(machine: Machine) -> Iterator[Problem]:
    """Says so if there is no nginx to run."""
    nginx = machine.nginx
    if not (nginx.is_file() and os.access(nginx, os.X_OK)):
        yield Problem("nginx", f"not found ({nginx})", "install it: apt-get install nginx-light")


def port_problem(host: str, port: int) -> Problem | None:
    """Tries to listen on a port for a moment; returns why that cannot be done."""
    refusal = try_to_listen(host, port)
    if refusal is None:
        return None
    owner = port_owner(port) if refusal.reason == "taken" else ""
    where = f"port {port}" if refusal.reason in ("taken", "forbidden") else f"address {host}"
    return Problem(where, f"{refusal.what} by {owner}" if owner else refusal.what, refusal.fix)


def _model_problems(fleet: Fleet) -> Iterator[Problem]:
    if not fleet.model.startswith(SIMULATED) and not os.access(fleet.model, os.R_OK):
        yield Problem(f"model {fleet.model}", "no such file, or not readable", "run `make setup` or name another model")


def _key_problems(fleet: Fleet) -> Iterator[Problem]:
    # An empty fleet has no instance; in any other all have the same file.
    for file in {instance.environment.get(f"{PREFIX}KEYS", "") for instance in fleet.instances} - {""}:
        if not os.access(file, os.R_OK):
            yield Problem(f"{PREFIX}KEYS {file}", "no such file, or not readable", "`make key NAME=...` makes one")


def port_problems(fleet: Fleet, own_ports: frozenset[int]) -> Iterator[Problem]:
    """Says which ports of a fleet are taken, but for those that are its own."""
    for host, port in fleet.addresses:
        if port not in own_ports and (problem := port_problem(host, port)):
            yield problem
