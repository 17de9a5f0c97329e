"""gixy, which knows what goes wrong in nginx files, finds nothing in ours."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from deploy.files.render import render
from deploy.fleet import Fleet
from deploy.machine.run import run_command, write_files
from tests.deploy.checks.test_config_check import FLEETS, TLS
from tests.deploy.fleets import fleet_of
from tests.deploy.inventories import NO_GPU, expanded, hosts

GIXY = shutil.which("gixy", path=str(Path(sys.executable).parent))
STRICT = f"{TLS}hsts_days = 365\n"
# Off by default: a browser that was told once takes plain HTTP from that host no more, whatever else runs there.
OPTIONAL = "--skips=hsts_header"


def complaints(fleet: Fleet, folder: Path, *options: str) -> list[str]:
    write_files(folder, render(fleet))
    done = run_command((str(GIXY), "--format=json", *options, str(folder / "nginx" / "nginx.conf")))
    # Behind notes about variables of auth_request, which it does not know.
    start = re.search(r"^\[[\s\]{]", done.output, re.MULTILINE)
    assert start, done.output
    found = json.loads(done.output[start.start() :])
    return [f"{entry['plugin']}: {entry['reason'] or entry['summary']}\n{entry['config']}" for entry in found]


@pytest.mark.skipif(GIXY is None, reason="gixy is not installed")
@pytest.mark.parametrize("name", ["local", *FLEETS])
def test_nothing_is_found_in_what_is_rendered(tmp_path: Path, name: str) -> None:
    assert complaints(fleet_of() if name == "local" else FLEETS[name], tmp_path, OPTIONAL) == []


@pytest.mark.skipif(GIXY is None, reason="gixy is not installed")
def test_nor_with_hsts_without_any_exception(tmp_path: Path) -> None:
    assert complaints(expanded(hosts("cpu = 1") + STRICT, devices=NO_GPU), tmp_path) == []
