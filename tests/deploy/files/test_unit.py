"""How much the rendered systemd unit keeps from its processes, as systemd itself rates that."""

import shutil
from pathlib import Path

import pytest

from deploy.files.render import render
from deploy.machine.run import run_command, write_files
from tests.deploy.inventories import expanded, hosts

# Of 10, where 10 is a unit without any protection.
MAX_EXPOSURE = 2.5


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("line", ['gpus = "auto"', "cpu = 1"], ids=["gpus", "cpu"])
def test_the_unit_exposes_little(tmp_path: Path, line: str) -> None:
    write_files(tmp_path / "etc", render(expanded(hosts(line))))
    unit = tmp_path / "etc/systemd/framefleet.service"
    threshold = f"--threshold={int(MAX_EXPOSURE * 10)}"
    done = run_command(("systemd-analyze", "security", "--offline=true", "--no-pager", threshold, str(unit)))
    if "unrecognized option" in done.output:
        pytest.skip("this systemd cannot rate a file")
    assert done.code == 0, done.output
