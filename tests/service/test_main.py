"""`python -m service`: one instance in the foreground, and the settings in its help."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import settings_table


def test_help_lists_every_setting_with_default_range_and_reason(repo_root: Path) -> None:
    command = [sys.executable, "-m", "service", "--help"]
    help_text = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, check=True).stdout
    words = " ".join(help_text.split())
    for row in settings_table():
        limits = f" ({row.limits})" if row.limits else ""
        assert f"{row.variable}={row.default} {row.why}{limits}" in words


def test_it_becomes_gunicorn_and_refuses_bad_settings(repo_root: Path) -> None:
    command = [sys.executable, "-m", "service"]
    ended = subprocess.run(
        command, cwd=repo_root, capture_output=True, text=True, check=False, env={"FRAMEFLEET_PORT": "no"}, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (78, "cannot start: FRAMEFLEET_PORT: 'no' is not a whole number\n")


def test_gunicorns_own_variable_changes_nothing(repo_root: Path) -> None:
    command = [sys.executable, "-m", "service"]
    environment = {"FRAMEFLEET_PORT": "no", "GUNICORN_CMD_ARGS": "--no-such-option"}
    ended = subprocess.run(
        command, cwd=repo_root, capture_output=True, text=True, check=False, env=environment, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (78, "cannot start: FRAMEFLEET_PORT: 'no' is not a whole number\n")


@pytest.mark.parametrize(
    ("port", "ended"),
    [("8101", (0, "")), ("0", (78, "FRAMEFLEET_PORT: 0 is outside 1 to 65535\n"))],
    ids=["right", "wrong"],
)
def test_settings_can_be_checked_without_starting_anything(repo_root: Path, port: str, ended: tuple[int, str]) -> None:
    command = [sys.executable, "-m", "service", "--check"]
    environment = {"FRAMEFLEET_PORT": port}
    done = subprocess.run(
        command, cwd=repo_root, capture_output=True, text=True, check=False, env=environment, timeout=60
    )
    assert (done.returncode, done.stderr) == ended
