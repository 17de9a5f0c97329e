from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from deploy.errors import ControlError
from deploy.files.render import render
from deploy.rendered_file import RenderedFile
from deploy.rollout.history import Deployment, History, read_history, to_json
from tests.deploy.fleets import fleet_of


def deployment(release: str = "r1", instances: int = 2) -> Deployment:
    files = render(fleet_of(instances, release=release))
    return Deployment(release, "here", 'text = "é"\n', ("there",), files, "2026-01-02T03:04:05Z", "anna")


def test_a_history_comes_back_as_it_was_written(tmp_path: Path) -> None:
    history = History(deployment("r2"), deployment("r1"), deployment("r3"), made_user=True)
    (tmp_path / "deployed.json").write_text(to_json(history))
    assert read_history(tmp_path / "deployed.json") == history
    assert history.releases == {"r1", "r2", "r3"}


def test_a_fresh_host_has_no_history(tmp_path: Path) -> None:
    assert read_history(tmp_path / "deployed.json") == History()


@pytest.mark.parametrize("text", ["", "{", '{"current": {"release": 1}}'], ids=["empty", "cut off", "of another kind"])
def test_a_damaged_history_is_not_taken_for_a_fresh_host(tmp_path: Path, text: str) -> None:
    (tmp_path / "deployed.json").write_text(text)
    with pytest.raises(ControlError, match="put it aside"):
        read_history(tmp_path / "deployed.json")


def test_a_deployment_knows_its_fleet() -> None:
    assert deployment("r7").fleet == fleet_of(2, release="r7")


def test_a_fleet_of_another_version_is_told_apart() -> None:
    old = replace(deployment(), files=(RenderedFile(PurePosixPath("fleet.json"), '{"release": "r0"}'),))
    with pytest.raises(ValueError, match="not a fleet of this version"):
        _ = old.fleet


def test_new_programs_are_those_whose_files_differ() -> None:
    one, same, more, other = deployment(), deployment(), deployment(instances=3), deployment("r2")
    assert one.new_programs(same) == frozenset()
    assert {"cpu2"} <= more.new_programs(one)
    assert {"cpu0", "cpu1"} <= other.new_programs(one)
    assert "balancer" not in other.new_programs(one)
    assert one.new_programs(None) == {*one.fleet.programs, *one.fleet.watchers}
