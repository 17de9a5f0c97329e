"""The runbook of a host: deploy, rollback, drain, undeploy. Each step may be the last before a power cut.

What a deploy is changing the host to is noted before anything that serves is touched, and each step can be taken
again; so after a cut the next deploy, of whatever release, or a rollback, carries on from what runs.

`build_engines`, `engines_of`: has the release build TensorRT engines for the GPUs of this host; what cannot be built
is served by ONNX Runtime.

Flow: [Fleet] on an .onnx model + [Devices] -> `service.models.build` once per GPU type -> model by GPU name.

`host_folders`, `leftovers`: which folders a host needs, whose they are, and which of them a deploy no longer needs.
"""

import os
import pwd
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from deploy.checks.known_picture import model_of
from deploy.describe.fleet_file import parse_inventory
from deploy.describe.inventory import Inventory
from deploy.errors import ControlError, PreflightError, Problem, raise_if
from deploy.fleet import Fleet
from deploy.machine import run, run_host
from deploy.machine.command import Runner
from deploy.machine.devices import Devices, Gpu
from deploy.machine.run_files import take_over
from deploy.machine.run_host import Folder
from deploy.machine.run_lock import deploy_lock, this_holder
from deploy.machine.site import Site
from deploy.machine.world import World
from deploy.paths import Folders
from deploy.release import GOLDEN, hashes, is_built, release_of
from deploy.rollout.change import change, stop_for_good
from deploy.rollout.desired_state import (
    DesiredState,
    Request,
    desired_state_of,
    expand,
    make_deployment,
    read_desired_state,
)
from deploy.rollout.history import Deployment, History, read_history
from deploy.rollout.host_preflight import bundled_model, health_notes, host_problems

KEPT_RELEASES = 3
# Only root and the service enter these folders, and root owns all but what the service itself writes to.
PRIVATE, SHARED = 0o750, 0o755
GRAPH_SUFFIX = ".onnx"
# The builder's last line; it keeps what it built, by everything an engine depends on.
BUILT = re.compile(r"MODEL=(?P<path>/\S+\.engine)\s*$")


def deploy(request: Request, site: Site) -> None:
    """Makes this release, with the inventory's configuration, the one that serves.

    Raises:
        DeployError: it is not; what served before serves on.
    """
    with _locked(site, f"deploying release {site.release.id}") as before:
        order = read_desired_state(request, before, site)
        site = _keep_log(order, site)
        wanted, made_user = _prepare(order, request, before, site)
        replacing = request.inventory is not None
        now = change(
            wanted,
            replace(before, made_user=made_user),
            site,
            trusted=False,
            proven=lambda: _write_inventory(order, replacing, site),
        )
        prune(order.inventory.folders, now, site.world.say)


def rollback(site: Site) -> None:
    """Goes back to the release and configuration before this one; after a deploy that was cut off, to the last whole.

    Raises:
        DeployError: there is none, or it does not start; what served before serves on.
    """
    with _locked(site, "rolling back") as history:
        target = history.current if history.pending else history.previous
        if target is None:
            raise ControlError(Problem("rollback", "nothing was deployed here before", "deploy a bundle"))
        site.world.say(f"== rollback: to release {target.release}, deployed {target.at} by {target.by}")
        order = desired_state_of(target)
        site = _keep_log(order, site)
        change(target, history, site, trusted=True, proven=lambda: _write_inventory(order, True, site))


def drain(name: str, drained: bool, site: Site) -> None:
    """Lets this host's balancer send no more requests to a host, or send them again.

    Raises:
        DeployError: nothing is deployed here, there is no such host, or nginx does not take it.
    """
    with _locked(site, f"{'draining' if drained else 'undraining'} {name}") as history:
        current = _current(history, site)
        order = desired_state_of(current)
        order.inventory.host(name)
        names = set(current.drained) | {name} if drained else set(current.drained) - {name}
        order = replace(order, drained=tuple(sorted(names)))
        devices = site.devices()
        fleet = expand(order, site, devices, engines_of(current.fleet, devices))
        change(make_deployment(order, fleet, site), history, _keep_log(order, site), trusted=True)


@contextmanager
def _locked(site: Site, what: str) -> Iterator[History]:
    """Holds the host's lock, and says what the last holder did not finish."""
    with deploy_lock(site.lock, this_holder(what, site.world.environ)) as died:
        history = read_history(site.history)
        if died:
            site.world.say(f"note: {died.since_when(time.time())}, did not end; going on from what runs")
        if history.pending:
            cut = history.pending
            site.world.say(f"note: the deploy of release {cut.release} by {cut.by}, {cut.at}, was cut off")
        yield history


def _prepare(order: DesiredState, request: Request, history: History, site: Site) -> tuple[Deployment, bool]:
    """Everything that can be done beside what serves; also says whether a deploy made the user."""
    world, inventory = site.world, order.inventory
    world.say(f"== preflight: release {order.release.id} for host {order.host}")
    devices = site.devices()
    fleet = expand(order, site, devices)
    raise_if(PreflightError, tuple(host_problems(order, fleet, history, request, site)))
    for note in health_notes(history):
        world.say(note)
    world.say("== prepare: user, folders, model")
    made = run_host.ensure_user(inventory.user, inventory.group, inventory.folders.state)
    run_host.make_folders(host_folders(inventory))
    _place_model(order, request, site)
    if engines := build_engines(fleet, devices, site.runner, world):
        fleet = expand(order, site, devices, engines)
    return make_deployment(order, fleet, site), history.made_user or made


def _place_model(order: DesiredState, request: Request, site: Site) -> None:
    source, target = bundled_model(order, request), Path(order.model)
    if source and not run_host.has_model(target, order.model_sha256):
        site.world.say(f"model {target.name} -> {target}")
        run_host.place_model(source, target, hashes(site.code.repo))


def _current(history: History, site: Site) -> Deployment:
    if history.pending:
        raise ControlError(Problem(str(site.install), "a deploy was cut off", "deploy again, or roll back, first"))
    if not history.current:
        raise ControlError(Problem(str(site.install), "nothing is deployed here", "deploy a bundle"))
    return history.current


def _write_inventory(order: DesiredState, replacing: bool, site: Site) -> None:
    """Keeps the host's own fleet.toml, unless another was asked for or there is none."""
    file = order.inventory.folders.inventory
    if file.exists() and file.read_text() == order.text:
        return
    if file.exists() and replacing:
        kept = file.with_name(f"{file.name}.replaced")
        run.write_text(kept, file.read_text(), 0o600, durable=True)
        site.world.say(f"note: {file} is replaced; it was kept as {kept.name}")
    if replacing or not file.exists():
        # It may hold secrets.
        run.write_text(file, order.text, 0o600, durable=True)


def undeploy(site: Site) -> None:
    """Stops everything and removes it; logs stay, and what other people put into the folders.

    Raises:
        DeployError: something could not be stopped.
    """
    with _locked(site, "undeploying") as history:
        known = history.current or history.pending
        folders = parse_inventory(known.inventory).folders if known else Folders(install=site.install)
        site.world.say(f"== undeploy: {folders.install}, {folders.etc}, {folders.state}, {folders.run}")
        stop_for_good(folders.paths, site)
        take_over(folders.log)
        run.remove(*leftovers(folders))
        if known and history.made_user:
            run_host.remove_user(parse_inventory(known.inventory).user)
        run_host.remove_if_empty(folders.etc)
        # Last, because this runs from there.
        run.remove(folders.install)
    site.world.say(f"undeployed; the logs stay in {folders.log}")


def _keep_log(order: DesiredState, site: Site) -> Site:
    log = order.inventory.folders.paths.log_of("deploy")
    return replace(site, world=replace(site.world, say=run_host.to_terminal_and_log(site.world.say, log)))


def build_engines(fleet: Fleet, devices: Devices, runner: Runner, world: World) -> dict[str, str]:
    """Builds, or finds, an engine for each type of GPU that instances run on.

    Args:
        fleet: as it would run without engines.
        devices: what the host has.
        runner: runs a command and waits for its end.
        world: is told what is built, and why something is not.

    Returns:
        The model to serve, by the GPU's name; GPUs without an engine are left out.
    """
    if not fleet.model.endswith(GRAPH_SUFFIX):
        return {}
    used = {instance.device for instance in fleet.instances}
    types: dict[str, Gpu] = {}
    for gpu in devices.gpus:
        if gpu.uuid in used:
            types.setdefault(gpu.name, gpu)
    engines = {}
    for name, gpu in types.items():
        world.say(f"== engine: TensorRT for {name}; takes minutes the first time")
        outcome = runner(_command(fleet, gpu))
        last = (outcome.output.strip().splitlines() or ["no output"])[-1]
        if outcome.code == 0 and (match := BUILT.search(last)):
            engines[name] = match["path"]
        else:
            world.say(f"note: no engine for {name} ({last}); ONNX Runtime serves there")
    return engines


def engines_of(fleet: Fleet, devices: Devices) -> dict[str, str]:
    """The engines that a fleet serves already, by the GPU's name."""
    names = {gpu.uuid: gpu.name for gpu in devices.gpus}
    models = {names[i.device]: model_of(i) for i in fleet.instances if i.device in names}
    return {name: model for name, model in models.items() if model != fleet.model}


def _command(fleet: Fleet, gpu: Gpu) -> Sequence[str]:
    build = (str(fleet.code.python), "-I", "-m", "service.models.build", fleet.model, "--var", str(fleet.paths.state))
    # Its boxes are compared on the picture that came with the release.
    return ("env", f"CUDA_VISIBLE_DEVICES={gpu.uuid}", *build, "--frames", str(fleet.code.repo / GOLDEN))


def host_folders(inventory: Inventory) -> tuple[Folder, ...]:
    """Every folder that has to exist before anything is started, outermost first."""
    folders, paths, user, group = inventory.folders, inventory.folders.paths, inventory.user, inventory.group
    owner = pwd.getpwuid(os.geteuid()).pw_name
    return (
        Folder(folders.install, SHARED, owner, owner),
        Folder(folders.etc, PRIVATE, owner, group),
        Folder(paths.etc, PRIVATE, owner, group),
        Folder(folders.state, PRIVATE, owner, group),
        Folder(paths.models, PRIVATE, owner, group),
        Folder(paths.tmp, PRIVATE, user, group),
        Folder(paths.home, PRIVATE, user, group),
        Folder(folders.log, PRIVATE, user, group),
        Folder(folders.run, PRIVATE, user, group),
    )


def leftovers(folders: Folders) -> tuple[Path, ...]:
    """What a deploy made beside the release itself and the logs; not what others put into /etc/framefleet."""
    paths, inventory = folders.paths, folders.inventory
    rendered = (paths.etc, paths.etc_new, paths.etc_previous, paths.etc_failed)
    return (*rendered, inventory, inventory.with_name(f"{inventory.name}.replaced"), folders.state, folders.run)


def prune(folders: Folders, history: History, say: Callable[[str], None]) -> None:
    """Removes releases beyond the newest and those in use, what was cut off while it was built, and their models.

    Of the engines built here those stay that the present or the previous deployment serves: others can be built again.
    """
    built = sorted(path.name for path in folders.releases.iterdir() if is_built(path))
    keep = history.releases | set(built[-KEPT_RELEASES:])
    for folder in sorted(folders.releases.iterdir()):
        if folder.name not in keep:
            say(f"removing release {folder.name}")
            run.remove(folder)
    deployments = [deployment for deployment in (history.current, history.previous) if deployment]
    used = {_model_folder(folders, name) for name in keep} | {
        Path(desired_state_of(each).model).parent for each in deployments
    }
    for folder in sorted(folders.paths.models.iterdir()):
        if folder.is_dir() and folder not in used:
            run.remove(folder)
    for engine in _unserved_engines(folders.paths.models, deployments):
        say(f"removing engine {engine.name}")
        run.remove(engine, engine.with_suffix(".json"))


def _unserved_engines(models: Path, deployments: Sequence[Deployment]) -> Iterator[Path]:
    try:
        served = {Path(model_of(instance)) for each in deployments for instance in each.fleet.instances}
    except ValueError:  # another version of the kit wrote it, and this one cannot tell what it serves
        return
    yield from sorted(set(models.glob("*.engine")) - served)


def _model_folder(folders: Folders, release_id: str) -> Path:
    release = release_of(folders.releases / release_id)
    return folders.paths.models / (release.model_sha256 if release else "")
