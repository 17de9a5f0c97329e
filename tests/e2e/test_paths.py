"""Fleets run in folders, and with models, whose names have what people put into names."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.fleet import LocalFleet, local_fleet

pytestmark = pytest.mark.e2e
# Short ones: with what pytest puts before them, a socket's path just fits.
FOLDERS = ["Acme, Inc (1)/it's", "50%;#s ~ {x}", "Süd 北 &!=@^`|<>", "a  b"]


def works(fleet: LocalFleet, picture: bytes) -> None:
    fleet.up(instances=1)
    assert fleet.run("status", "--var", str(fleet.var)).returncode == 0
    image = fleet.var / "picture.jpg"
    image.write_bytes(picture)
    smoke = fleet.run("smoke", "--var", str(fleet.var), "--image", str(image))
    assert smoke.returncode == 0, smoke.stdout + smoke.stderr
    assert '"uri":"/v1/detect"' in fleet.log("balancer-access")
    assert "nothing had to change" in fleet.up(instances=1)
    assert {process.kind for process in fleet.processes()} == {"supervisord", "instance", "balancer"}
    fleet.down()
    assert fleet.processes() == ()


@pytest.mark.parametrize("name", FOLDERS)
def test_a_fleet_runs_in_a_folder_with_that_name(
    name: str, tmp_path_factory: pytest.TempPathFactory, picture: bytes
) -> None:
    with local_fleet(tmp_path_factory.mktemp("p") / name) as fleet:
        works(fleet, picture)


def test_a_model_and_its_folder_may_have_such_names(tmp_path: Path, default_model: Path, picture: bytes) -> None:
    model = tmp_path / "50% [old] * 'Süd' $HOME" / "it's; (1).onnx"
    model.parent.mkdir()
    for suffix in (".onnx", ".json"):
        shutil.copy(default_model.with_suffix(suffix), model.with_suffix(suffix))
    with local_fleet(tmp_path / "var") as fleet:
        works(fleet.with_model(str(model)), picture)
