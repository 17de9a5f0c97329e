"""Two fleets that start on the same ports at one moment: the second is told who is first."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.errors import PreflightError
from deploy.machine.run_lock import port_claims

HOLD = """
import sys
from deploy.machine.run_lock import port_claims
with port_claims([("127.0.0.1", int(sys.argv[1]))]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_port_that_another_start_is_about_to_take_is_refused_with_its_pid(repo_root: Path) -> None:
    command = [sys.executable, "-c", HOLD, "20248"]
    with subprocess.Popen(command, cwd=repo_root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        with (
            pytest.raises(PreflightError) as refused,
            port_claims([("127.0.0.1", 20247), ("0.0.0.0", 20248)]),
        ):
            pass
        with port_claims([("127.0.0.1", 20247)]):
            first.kill()
    assert str(refused.value).startswith(f"port 20248: process {first.pid} is starting a fleet on it; wait for it")
    with port_claims([("127.0.0.1", 20248)]):
        pass
