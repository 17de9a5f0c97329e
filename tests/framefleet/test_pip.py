"""pip is told how to reach an index, and nothing else that its user has set."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from framefleet.pip import PipError, kept_settings, pip_environment
from tests.framefleet.wheels import make_wheel

CONF = """[global]
quiet = 1
user = true
require-virtualenv = true
no-index = true
index-url = https://index.example/simple
proxy = http://proxy.example:3128
[install]
target = /elsewhere
trusted-host =
    one.example
    other.example
[download]
cert = /etc/own.pem
[list]
index-url = https://wrong.example
"""
HOSTILE = {
    "PIP_QUIET": "1",
    "PIP_USER": "1",
    "PIP_TARGET": "/elsewhere",
    "PIP_PREFIX": "/elsewhere",
    "PIP_ROOT": "/elsewhere",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PIP_DRY_RUN": "1",
    "PIP_NO_BINARY": ":all:",
    "PIP_CONSTRAINT": "/no/such/file",
    "PIP_PYTHON": "/no/such/python",
    "PIP_LOG": "/no/such/folder/log",
    "PYTHONHOME": "/no/such/python",
}


@pytest.fixture
def plain() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(("PIP_", "PYTHON"))}


def test_a_pip_conf_is_read_for_the_way_to_an_index(plain: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(CONF)
    environ = {**plain, **HOSTILE, "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_TIMEOUT": "7", "HOME": "/none"}
    found = settings(pip_environment("install", environ))
    machines_own = {"PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_NO_INDEX"}
    assert {name: value for name, value in found.items() if name not in machines_own} == {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "https://index.example/simple",
        "PIP_PROXY": "http://proxy.example:3128",
        "PIP_TRUSTED_HOST": "\none.example\nother.example",
        "PIP_TIMEOUT": "7",
    }
    assert settings(pip_environment("download", environ))["PIP_CERT"] == "/etc/own.pem"


def test_the_environment_counts_more_than_a_file_and_a_commands_section_more_than_all() -> None:
    lines = ["global.index-url='a'", "install.index-url='b'", "global.proxy='c'", ":env:.proxy='d'", "install.cert=''"]
    assert kept_settings(lines, "install") == {"index-url": "b", "proxy": "d"}


def test_no_index_is_kept_where_something_says_from_where_else() -> None:
    assert kept_settings([":env:.no-index='1'"], "install") == {}
    with_links = [":env:.no-index='1'", "global.find-links='/wheels'"]
    assert kept_settings(with_links, "install") == {"no-index": "1", "find-links": "/wheels"}


def test_a_file_that_pip_cannot_read_is_told_in_one_line(plain: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("no section\n")
    with pytest.raises(PipError, match=r"^pip's settings cannot be read: .*pip\.conf.*`pip config debug`"):
        pip_environment("install", {**plain, "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")})


def test_pip_itself_obeys(plain: dict[str, str], repo_root: Path, tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels", "small")
    environ = {**plain, **HOSTILE, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}
    del environ["PYTHONHOME"]  # with which no Python starts at all
    command = [sys.executable, "-m", "framefleet.pip", "download", "small", "--dest", str(tmp_path / "got")]
    done = subprocess.run(
        command,
        cwd=repo_root,
        env=environ | {"PIP_FIND_LINKS": str(tmp_path / "wheels")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Successfully downloaded small" in done.stdout
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["small-1-py3-none-any.whl"]
