"""What a deploy makes on a host beside the fleet itself, and clears away: engines, folders, old releases.

`build_engines`, `engines_of`: has the release build TensorRT engines for the GPUs of this host; what cannot be built
is served by ONNX Runtime.

Flow: [Fleet] on an .onnx model + [Devices] -> `service.models.build` once per GPU type -> model by GPU name.

`host_folders`, `leftovers`, `prune`: which folders a host needs, whose they are, and which a deploy no longer needs.
"""

import os
import pwd
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.checks.known_picture import model_of
from deploy.describe.inventory import Inventory
from deploy.fleet import Fleet
from deploy.machine.devices import Devices, Gpu
from deploy.machine.machine import Machine
from deploy.machine.run_host import Folder
from deploy.paths import Folders
from deploy.release import TEST_PICTURE, is_built, release_of
from deploy.rollout.desired_state import desired_state_of
from deploy.rollout.history import Deployment, History

KEPT_RELEASES = 3
# Only root and the service enter these folders, and root owns all but what the service itself writes to.
PRIVATE, SHARED = 0o750, 0o755
GRAPH_SUFFIX = ".onnx"
# The builder's last line; it keeps what it built, by everything an engine depends on.
BUILT = re.compile(r"MODEL=(?P<path>/\S+\.engine)\s*$")


def build_engines(fleet: Fleet, devices: Devices, machine: Machine) -> dict[str, str]:
    """Builds, or finds, an engine for each type of GPU that instances run on.

    Args:
        fleet: as it would run without engines.
        devices: what the host has.
        machine: builds, and is told what is built, and why something is not.

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
        machine.say(f"== engine: TensorRT for {name}; takes minutes the first time")
        outcome = machine.run(_command(fleet, gpu))
        last = (outcome.output.strip().splitlines() or ["no output"])[-1]
        if outcome.code == 0 and (match := BUILT.search(last)):
            engines[name] = match["path"]
        else:
            machine.say(f"note: no engine for {name} ({last}); ONNX Runtime serves there")
    return engines


def engines_of(fleet: Fleet, devices: Devices) -> dict[str, str]:
    """The engines that a fleet serves already, by the GPU's name."""
    names = {gpu.uuid: gpu.name for gpu in devices.gpus}
    models = {names[i.device]: model_of(i) for i in fleet.instances if i.device in names}
    return {name: model for name, model in models.items() if model != fleet.model}


def _command(fleet: Fleet, gpu: Gpu) -> Sequence[str]:
    build = (str(fleet.code.python), "-I", "-m", "service.models.build", fleet.model, "--var", str(fleet.paths.state))
    # Its boxes are compared on the picture that came with the release.
    return ("env", f"CUDA_VISIBLE_DEVICES={gpu.uuid}", *build, "--frames", str(fleet.code.repo / TEST_PICTURE))


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
    rendered = (paths.etc, paths.etc_new, paths.etc_previous)
    return (*rendered, inventory, inventory.with_name(f"{inventory.name}.replaced"), folders.state, folders.run)


def prune(folders: Folders, history: History, machine: Machine) -> None:
    """Removes releases beyond the newest and those in use, what was cut off while it was built, and their models.

    Of the engines built here those stay that the present or the previous deployment serves: others can be built again.
    """
    built = sorted(path.name for path in folders.releases.iterdir() if is_built(path))
    keep = history.releases | set(built[-KEPT_RELEASES:])
    for folder in sorted(folders.releases.iterdir()):
        if folder.name not in keep:
            machine.say(f"removing release {folder.name}")
            machine.remove(folder)
    deployments = [deployment for deployment in (history.current, history.previous) if deployment]
    used = {_model_folder(folders, name) for name in keep} | {
        Path(desired_state_of(each).model).parent for each in deployments
    }
    for folder in sorted(folders.paths.models.iterdir()):
        if folder.is_dir() and folder not in used:
            machine.remove(folder)
    for engine in _unserved_engines(folders.paths.models, deployments):
        machine.say(f"removing engine {engine.name}")
        machine.remove(engine, engine.with_suffix(".json"))


def _unserved_engines(models: Path, deployments: Sequence[Deployment]) -> Iterator[Path]:
    try:
        served = {Path(model_of(instance)) for each in deployments for instance in each.fleet.instances}
    except ValueError:  # another version of the kit wrote it, and this one cannot tell what it serves
        return
    yield from sorted(set(models.glob("*.engine")) - served)


def _model_folder(folders: Folders, release_id: str) -> Path:
    release = release_of(folders.releases / release_id)
    return folders.paths.models / (release.model_sha256 if release else "")
