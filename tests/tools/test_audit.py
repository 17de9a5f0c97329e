"""`make audit` tells three things apart: nothing known, something known, nobody could be asked."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOUND = """Found 1 known vulnerability in 1 package
Name  Version ID             Fix Versions
----- ------- -------------- ------------
flask 0.5     PYSEC-2019-179 1.0"""
PIP_AUDIT = shutil.which("pip-audit", path=str(Path(sys.executable).parent))


def audit(repo_root: Path, command: Path | str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [repo_root / "tools/audit.sh", command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def stand_in(folder: Path, said: str, code: int) -> Path:
    """What pip-audit says and how it exits, for what no test can wait for."""
    path = folder / "pip-audit"
    path.write_text(f"#!/bin/sh\necho \"$@\" > {folder}/asked\ncat >&2 <<'E'\n{said}\nE\nexit {code}\n")
    path.chmod(0o755)
    return path


def test_nothing_known_is_fine(repo_root: Path, tmp_path: Path) -> None:
    done = audit(repo_root, stand_in(tmp_path, "No known vulnerabilities found", 0))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("audit: no known vulnerabilities in lock/checkout.txt lock/dev.txt lock/service.txt")
    asked = (tmp_path / "asked").read_text().split()
    locks = sorted(str(path.relative_to(repo_root)) for path in (repo_root / "lock").glob("*.txt"))
    assert [word.partition("=")[2] for word in asked if word.startswith("--requirement=")] == locks


def test_what_is_known_is_shown(repo_root: Path, tmp_path: Path) -> None:
    done = audit(repo_root, stand_in(tmp_path, FOUND, 1))
    assert done.returncode == 1
    assert "PYSEC-2019-179" in done.stdout and done.stdout.endswith("then: make lock\n")


def test_without_pip_audit_it_says_so(repo_root: Path, tmp_path: Path) -> None:
    done = audit(repo_root, tmp_path / "missing")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"audit: {tmp_path}/missing is missing; run: make dev\n"


@pytest.mark.skipif(PIP_AUDIT is None, reason="pip-audit is not installed")
def test_without_a_network_it_says_that_nothing_was_checked(repo_root: Path, tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9"
    cache = str(tmp_path)
    done = audit(repo_root, str(PIP_AUDIT), HTTPS_PROXY=nobody, https_proxy=nobody, NO_PROXY="", XDG_CACHE_HOME=cache)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("audit: nothing was checked: ") and "is the network there?" in done.stderr
