"""Looks whether this machine can run a fleet now, or a host take a deploy, all at once; changes nothing."""

import hashlib
import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

from deploy.checks.health import endpoints, probe
from deploy.checks.service_check import BROKEN, Scope, service_problems
from deploy.describe.file_names import in_file
from deploy.describe.inventory import Inventory
from deploy.errors import Problem
from deploy.fleet import PREFIX, Fleet, HostFacts
from deploy.machine.command import Runner
from deploy.machine.machine import Machine
from deploy.machine.processes import port_owner
from deploy.machine.run_host import has_model
from deploy.machine.target import Target
from deploy.release import is_built
from deploy.rollout.desired_state import DesiredState, Request
from deploy.rollout.history import History
from framefleet.text_file import NotText, read_text

# Logs, bodies that outgrow nginx's buffers, and an engine: less than this and something will fail soon.
FREE_BYTES = 500 * 2**20
# Before the first deploy there is no such user yet, who will be in no other group than its own.
AS_USER = ("setpriv", "--init-groups", "--reuid")
AS_NOBODY = ("setpriv", "--clear-groups", "--reuid", "65534", "--regid", "65534")
TEST = ("test", "-r")
OTHERS = 0o077
BUILT_WITH = "configure arguments:"
AUTH_REQUEST = "http_auth_request_module"


def preflight(fleet: Fleet, own_ports: frozenset[int], machine: Machine) -> tuple[Problem, ...]:
    """Collects what would keep the fleet from starting.

    Args:
        fleet: what is wanted.
        own_ports: ports that a running fleet of the same folder holds; they are as good as free.
        machine: asks nginx, the service and the kernel.
    """
    return (
        *nginx_problems(fleet.machine),
        *key_check_problems(fleet, machine.run),
        *service_problems(fleet, fleet.code, machine.run),
        *port_problems(fleet, own_ports, machine),
    )


def nginx_problems(facts: HostFacts) -> Iterator[Problem]:
    """Says so if there is no nginx to run."""
    nginx = facts.nginx
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


def port_problem(host: str, port: int, machine: Machine) -> Problem | None:
    """Tries to listen on a port for a moment; returns why that cannot be done."""
    refusal = machine.try_to_listen(host, port)
    if refusal is None:
        return None
    owner = port_owner(port) if refusal.reason == "taken" else ""
    where = f"port {port}" if refusal.reason in ("taken", "forbidden") else f"address {host}"
    return Problem(where, f"{refusal.what} by {owner}" if owner else refusal.what, refusal.fix)


def port_problems(fleet: Fleet, own_ports: frozenset[int], machine: Machine) -> Iterator[Problem]:
    """Says which ports of a fleet are taken, but for those that are its own."""
    for host, port in fleet.addresses:
        if port not in own_ports and (problem := port_problem(host, port, machine)):
            yield problem


def host_problems(
    wanted: DesiredState, fleet: Fleet, history: History, request: Request, target: Target
) -> Iterator[Problem]:
    """Collects what would keep the host from running the fleet.

    Args:
        wanted: what is wanted.
        fleet: the same, expanded.
        history: what runs so far, whose ports are as good as free.
        request: has the bundle that the model may come from.
        target: the host.
    """
    if not target.facts.root:
        yield Problem("user", "a deploy makes users and services, which only root may", "use sudo")
    yield from target.manager.problems()
    yield from nginx_problems(fleet.machine)
    yield from key_check_problems(fleet, target.machine.run)
    yield from _release_problems(target)
    files = (*_model_problems(wanted, request), *key_problems(wanted.inventory, target.machine.run))
    yield from files
    yield from _service_problems(wanted, fleet, request, target, "settings" if files else "all")
    if fleet.balancer.tls:
        yield from tls_problems(wanted.inventory, target.machine.run)
    yield from _space_problems(wanted)
    yield from port_problems(fleet, _own_ports(fleet, history, target.machine), target.machine)


def health_notes(history: History, machine: Machine) -> Iterator[str]:
    """Says which instances of what runs so far do not answer: that is no reason to stop, as a deploy may cure it."""
    if not history.current:
        return
    try:
        fleet = history.current.fleet
    except ValueError:
        return
    with machine.open_session() as session:
        for endpoint in endpoints(fleet):
            answer = probe(session, endpoint)
            if not answer.ready:
                yield f"note: {endpoint.name} was not ready before: {answer.reason}"


def bundled_model(wanted: DesiredState, request: Request) -> Path | None:
    """The model's file in the bundle, if it is the one that is wanted."""
    if not (request.bundle and wanted.release.model and wanted.release.model_sha256 == wanted.model_sha256):
        return None
    file = request.bundle / "model" / wanted.release.model
    return file if file.is_file() else None


def _release_problems(target: Target) -> Iterator[Problem]:
    if not is_built(target.code.repo):
        yield Problem(str(target.code.repo), "is not a complete release", "deploy its bundle again")


def _model_problems(wanted: DesiredState, request: Request) -> Iterator[Problem]:
    if wanted.inventory.model.simulated or bundled_model(wanted, request):
        return
    if not has_model(Path(wanted.model), wanted.model_sha256):
        yield Problem(f"model {wanted.model}", "missing or damaged", "deploy a bundle that has it")


def _service_problems(
    wanted: DesiredState, fleet: Fleet, request: Request, target: Target, scope: Scope
) -> Iterator[Problem]:
    """What the service itself says, with the model in the bundle as long as it is not yet where it belongs."""
    bundled = bundled_model(wanted, request)
    # Where it will be, only root may write.
    instead = {f"{PREFIX}MODEL": str(bundled), f"{PREFIX}TRUST_ANY_PATH": "1"} if bundled else {}
    for problem in service_problems(fleet, target.code, target.machine.run, scope=scope, instead=instead):
        if problem.where == BROKEN:
            yield Problem(f"release {wanted.release.id}", problem.what, "correct it and deploy again")
        else:
            yield in_file(problem, wanted.inventory, wanted.inventory.host(wanted.host))


def key_problems(inventory: Inventory, run: Runner) -> Iterator[Problem]:
    """What would keep instances from reading the file of API keys, or the deploy from having one of them."""
    file, own, user = inventory.keys.file, inventory.keys.own, inventory.user
    if not (file and own):
        return
    try:
        known, key, mode = read_text(file), read_text(own).strip(), own.stat().st_mode
    except (OSError, NotText) as error:
        what = getattr(error, "strerror", None) or "not text"
        where = getattr(error, "filename", None) or str(file)
        yield Problem(f"keys: {where}", what, "docs/security.md says how to make keys on a host")
        return
    if not _reads(file, inventory, run):
        yield Problem(f"keys.file: {file}", f"{user} cannot read it", f"chmod 644 {file}: it holds hashes, no keys")
    if mode & OTHERS:
        yield Problem(f"keys.own: {own}", "others than its owner may read it", f"chmod 600 {own}")
    if f":{hashlib.sha256(key.encode()).hexdigest()}:" not in known:
        yield Problem(f"keys.own: {own}", f"its key is none of those in {file}", "make one for it")


def tls_problems(inventory: Inventory, run: Runner) -> Iterator[Problem]:
    """What would keep nginx, which is started as the service's user, from reading its certificate."""
    tls = inventory.balancing.tls
    # Before there is such a user nobody can have given it the key.
    for name in ("certificate", "key") if tls and _exists(inventory.user) else ():
        file: Path = getattr(tls, name)
        if not _reads(file, inventory, run):
            fix = f"chgrp {inventory.group} {file}; chmod 640 {file}"
            yield Problem(f"tls.{name}: {file}", f"missing, or {inventory.user} cannot read it", fix)


def _reads(file: Path, inventory: Inventory, run: Runner) -> bool:
    user = inventory.user
    account = (*AS_USER, user, "--regid", inventory.group) if _exists(user) else AS_NOBODY
    return run((*account, *TEST, str(file))).code == 0


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _space_problems(wanted: DesiredState) -> Iterator[Problem]:
    folders = wanted.inventory.folders
    for folder in (folders.state, folders.log):
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if (free := shutil.disk_usage(there).free) < FREE_BYTES:
            yield Problem(str(folder), f"{free // 2**20} MiB are free, {FREE_BYTES // 2**20} are needed", "make room")


def _own_ports(fleet: Fleet, history: History, machine: Machine) -> frozenset[int]:
    if not machine.processes(fleet.paths):
        return frozenset()
    ports: set[int] = set()
    for deployment in (history.current, history.pending):
        if deployment:
            try:
                ports |= {port for _, port in deployment.fleet.addresses}
            except ValueError:
                continue
    return frozenset(ports)
