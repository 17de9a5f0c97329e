import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from deploy.describe.fleet_file import parse_inventory
from deploy.files.record import to_json
from deploy.machine.machine import Machine
from deploy.paths import Folders
from deploy.rendered_file import RenderedFile
from deploy.rollout.history import Deployment, History
from deploy.rollout.host_setup import host_folders, leftovers, prune
from tests.deploy.fleets import fleet_of

INVENTORY = '[model]\nfile = "m.onnx"\n[folders]\n{folders}\n[[hosts]]\nname = "gpu1"\ncpu = 1\n'
IDS = [f"2026010{day}T000000Z-r{day}" for day in range(1, 7)]


@pytest.fixture
def inventory(tmp_path: Path) -> str:
    named = "\n".join(f'{name} = "{tmp_path / name}"' for name in ("install", "etc", "state", "log"))
    return INVENTORY.format(folders=named)


@pytest.fixture
def folders(inventory: str) -> Folders:
    """Six releases, each with its own model; the last was cut off while it was built."""
    folders = parse_inventory(inventory).folders
    for number, release in enumerate(IDS):
        digest = str(number) * 64
        record = {"id": release, "created": "", "python": "", "machine": "", "model": "m.onnx", "model_sha256": digest}
        (folders.releases / release).mkdir(parents=True)
        (folders.releases / release / "release.json").write_text(json.dumps(record))
        if release != IDS[-1]:
            (folders.releases / release / "built").touch()
        folders.paths.model(digest, "m.onnx").parent.mkdir(parents=True)
    return folders


def deployment(release: str, inventory: str, record: str = to_json(fleet_of())) -> Deployment:
    return Deployment(release, "gpu1", inventory, (), (RenderedFile(PurePosixPath("fleet.json"), record),), "", "")


def test_the_newest_releases_and_those_in_use_stay_with_their_models(folders: Folders, inventory: str) -> None:
    history = History(deployment(IDS[4], inventory), deployment(IDS[0], inventory))
    said: list[str] = []
    prune(folders, history, Machine(said.append))
    assert {path.name for path in folders.releases.iterdir()} == {IDS[0], IDS[2], IDS[3], IDS[4]}
    assert {path.name[0] for path in folders.paths.models.iterdir()} == {"0", "2", "3", "4"}
    assert said == [f"removing release {IDS[1]}", f"removing release {IDS[5]}"]


def test_a_second_pruning_finds_nothing(folders: Folders, inventory: str) -> None:
    history = History(deployment(IDS[4], inventory))
    prune(folders, history, Machine(lambda line: None))
    said: list[str] = []
    prune(folders, history, Machine(said.append))
    assert said == []


def test_only_engines_that_are_or_were_served_last_stay(folders: Folders, inventory: str) -> None:
    def serving(release: str, engine: str) -> Deployment:
        return deployment(release, inventory, to_json(fleet_of(1, model=str(folders.paths.models / engine))))

    def kept() -> set[str]:
        return {path.name for path in folders.paths.models.iterdir() if path.is_file()}

    for name in ("now", "before", "old"):
        (folders.paths.models / f"{name}.engine").touch()
        (folders.paths.models / f"{name}.json").touch()
    of_another_version = History(serving(IDS[4], "now.engine"), deployment(IDS[3], inventory, "{}"))
    prune(folders, of_another_version, Machine(lambda line: None))
    assert "old.engine" in kept()
    prune(folders, History(serving(IDS[4], "now.engine"), serving(IDS[3], "before.engine")), Machine(lambda line: None))
    assert kept() == {"now.engine", "now.json", "before.engine", "before.json"}


def test_only_what_the_service_writes_is_its_own(inventory: str) -> None:
    parsed = replace(parse_inventory(inventory), user="framefleet", group="framefleet")
    own = {folder.path for folder in host_folders(parsed) if folder.user == "framefleet"}
    paths = parsed.folders.paths
    assert own == {paths.tmp, paths.home, paths.log, paths.run}


def test_leftovers_are_neither_logs_nor_what_others_put_beside(inventory: str) -> None:
    folders = parse_inventory(inventory).folders
    assert folders.log not in leftovers(folders) and folders.etc not in leftovers(folders)
    assert {folders.state, folders.run, folders.paths.etc, folders.inventory} <= set(leftovers(folders))
