from pathlib import Path

import pytest

from deploy.errors import ControlError
from deploy.files.record import from_json, read_record, to_json
from deploy.paths import local_paths
from tests.deploy.fleets import fleet_of


def test_a_fleet_survives_the_way_through_its_record() -> None:
    fleet = fleet_of(3, environ={"FRAMEFLEET_CONF": "0.5"})
    assert from_json(to_json(fleet)) == fleet


def test_a_missing_record_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="no fleet was started here; run `make up` first"):
        read_record(local_paths(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"release": "r"}'])
def test_a_broken_record_says_what_to_do(tmp_path: Path, text: str) -> None:
    paths = local_paths(tmp_path)
    paths.etc.mkdir()
    paths.record.write_text(text)
    with pytest.raises(ControlError, match=r"fleet\.json: .*; run `make down`, then `make up`"):
        read_record(paths)
