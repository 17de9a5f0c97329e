"""Which folders a host needs, whose they are, and which of them a deploy no longer needs."""

import os
import pwd
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deploy.checks.golden import model_of
from deploy.describe.inventory import Inventory
from deploy.machine import run
from deploy.machine.run_host import Folder
from deploy.paths import Folders
from deploy.release import is_built, release_of
from deploy.rollout.history import Deployment, History
from deploy.rollout.order import order_of

KEPT_RELEASES = 3
# Only root and the service enter these folders, and root owns all but what the service itself writes to.
PRIVATE, SHARED = 0o750, 0o755


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
    used = {_model_folder(folders, name) for name in keep} | {Path(order_of(each).model).parent for each in deployments}
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
