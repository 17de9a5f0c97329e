"""Scenarios against a real fleet: nothing fails while instances are killed, nor while they are replaced."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.e2e.fleet import ROOT, LocalFleet, clean_environment

pytestmark = pytest.mark.e2e
LIMIT_S = 240


def scenario(name: str, fleet: LocalFleet, video: Path, out: Path, *more: str) -> dict[str, bool]:
    """The conditions and whether they held; whether the generator was on time is not the fleet's doing."""
    command = [sys.executable, "-m", "loadtest", "scenario", name, "--url", fleet.url, "--video", str(video)]
    command += ["--max-frames", "5", "--capacity-fps", "60", "--out", str(out), *more]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    document: dict[str, Any] = msgspec.json.decode((out / name / "scenario.json").read_bytes())
    assert (done.returncode == 0) is document["passed"], done.stdout + done.stderr
    return {check["condition"]: check["held"] for check in document["checks"]}


def test_no_request_fails_while_instances_are_killed(fleet: LocalFleet, sample_video: Path, tmp_path: Path) -> None:
    held = scenario("chaos", fleet, sample_video, tmp_path, "--seconds", "14", "--every-s", "5")
    assert all(held.values()), held


def test_no_request_fails_while_every_instance_is_replaced(
    fleet: LocalFleet, sample_video: Path, tmp_path: Path
) -> None:
    restart = f"env FRAMEFLEET_LOG_EVERY=200{{n}} {' '.join(fleet.command('up', *fleet.options()))}"
    more = ("--seconds", "20", "--every-s", "4", "--disturb", restart)
    held = scenario("deploy", fleet, sample_video, tmp_path, *more)
    assert all(held.values()), held
