"""`make setup` installs the same whatever the environment says, completes what was cut off, and survives a move."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.framefleet.wheels import make_wheel
from tests.tools.checkout import ROOT, outside_make
from tests.users import NOBODY, as_root

FETCH = 'import sys\nprint("fetched", *sys.argv[1:])\n'


class Setup:
    """A checkout whose lock has two small packages, one of them called cv2; tests need a third."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.folder, self.wheels = folder, wheels
        shutil.copytree(ROOT / "tools", folder / "tools")
        shutil.copytree(ROOT / "framefleet", folder / "framefleet", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "Makefile", folder)
        (folder / "service/models").mkdir(parents=True)
        (folder / "service/models/fetch.py").write_text(FETCH)
        (folder / "lock").mkdir()
        running = make_wheel(wheels, "cv2") + make_wheel(wheels, "small")
        (folder / "lock/checkout.txt").write_text(running)
        (folder / "lock/dev.txt").write_text(running + make_wheel(wheels, "tester"))

    def run(self, *arguments: str, target: str = "setup", **environ: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["make", target, *arguments],
            cwd=self.folder,
            env={**self.environ(), **environ},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def environ(self) -> dict[str, str]:
        plain = {name: value for name, value in outside_make().items() if not name.startswith(("PIP_", "PYTHON"))}
        source = {"PIP_FIND_LINKS": self.wheels.as_uri(), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
        return {**plain, **source}

    def python(self, code: str) -> str:
        command = [self.folder / ".venv/bin/python", "-I", "-c", code]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def hostile(tmp_path: Path) -> dict[str, str]:
    """What some shells, and some users, have in their environment."""
    broken, home = tmp_path / "broken modules", tmp_path / "home"
    for name in ("json.py", "shlex.py", "encodings/__init__.py"):
        (broken / name).parent.mkdir(parents=True, exist_ok=True)
        (broken / name).write_text("raise SystemExit('broken')")
    (home / ".config/pip").mkdir(parents=True)
    (home / ".config/pip/pip.conf").write_text("[global]\nuser = true\nquiet = 2\n[install]\ntarget = /elsewhere\n")
    (tmp_path / "bash_env").write_text("cd /; set -u; grep() { false; }\n")
    (tmp_path / "tmp folder").mkdir()
    (tmp_path / "cdpath/tools").mkdir(parents=True)
    return {
        "HOME": str(home),
        "PYTHONPATH": str(broken),
        "PYTHONHOME": "/no/such/python",
        "PYTHONSTARTUP": "/no/such/file",
        "PYTHONWARNINGS": "error",
        "PIP_QUIET": "1",
        "PIP_USER": "1",
        "PIP_TARGET": "/elsewhere",
        "PIP_PREFIX": "/elsewhere",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_CONFIG_FILE": "",
        "BASH_ENV": str(tmp_path / "bash_env"),
        "ENV": str(tmp_path / "bash_env"),
        "CDPATH": str(tmp_path / "cdpath"),
        "GREP_OPTIONS": "-v",
        "TMPDIR": str(tmp_path / "tmp folder"),
        "MAKEFLAGS": "-j4",
        "LC_ALL": "C",
        "PYTHON": "/no/such/python",
        "VAR": "/no/such/var",
    }


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """One that was set up in a folder with an ordinary, difficult name."""
    folder = tmp_path_factory.mktemp("set-up")
    return Setup(folder / "Acme, Inc (1)" / "it's", folder / "wheels")


def test_it_installs_all_of_the_lock_whatever_the_environment_says(ready: Setup, hostile: dict[str, str]) -> None:
    before = os.umask(0o077)
    try:
        done = ready.run("VAR=my var", **hostile)
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Successfully installed cv2-1 small-1" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["fetched --var=my var", "setup: done; next: make demo"]
    assert ready.python("import cv2, small; print(cv2.__file__)").startswith(str(ready.folder))


def test_a_second_run_only_looks(ready: Setup) -> None:
    done = ready.run()
    assert done.stdout.splitlines() == [
        "setup: .venv is up to date",
        "fetched --var=var",
        "setup: done; next: make demo",
    ]


def test_what_tests_need_comes_beside_what_is_there(ready: Setup) -> None:
    mark = ready.folder / ".venv/mark"
    mark.touch()
    done = ready.run(target="dev")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Successfully installed tester-1" in done.stdout and mark.exists()
    # What has more is enough, and nothing is looked for a second time.
    for target in ("setup", "dev"):
        assert "setup: .venv is up to date" in ready.run(target=target).stdout
    assert ready.python("import tester; print('there')") == "there"


@pytest.mark.parametrize("missing", ["nothing", "a package list", "what builds the model"])
def test_what_sets_itself_up_is_quiet_where_all_is_there(missing: str, ready: Setup) -> None:
    assert ready.run().returncode == 0
    builder = ready.folder / "service/models/fetch.py"
    if missing == "a package list":
        (ready.folder / ".venv/installed-lock").unlink()
    if missing == "what builds the model":
        builder.write_text(builder.read_text() + "# other code\n")
    command = ["tools/setup.sh", "--quick"]
    done = subprocess.run(command, cwd=ready.folder, env=ready.environ(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.splitlines()[:1]
        == {
            "nothing": [],
            "a package list": [
                "setup: installing Python packages into .venv: 170 MB to download, 500 MB on disk, a minute"
            ],
            "what builds the model": ["setup: .venv is up to date"],
        }[missing]
    )


def test_what_was_cut_off_is_completed(ready: Setup) -> None:
    (ready.folder / ".venv/installed-lock").unlink()
    (ready.folder / ".venv/bin/python").unlink()
    done = ready.run()
    assert done.returncode == 0 and "Successfully installed cv2-1 small-1" in done.stdout
    assert ready.python("import small; print('there')") == "there"


def test_one_that_fails_says_so_and_counts_for_nothing(ready: Setup, tmp_path: Path) -> None:
    (ready.folder / ".venv/installed-lock").unlink()
    done = ready.run(PIP_FIND_LINKS=tmp_path.as_uri(), PIP_QUIET="3")
    assert done.returncode != 0
    assert "setup: the packages could not be installed, see above" in done.stderr
    assert "No matching distribution found" in done.stderr
    status = subprocess.run(
        ["make", "status"], cwd=ready.folder, env=outside_make(), capture_output=True, text=True, check=False
    )
    assert status.returncode != 0 and "run `make setup` first" in status.stderr
    assert ready.run().returncode == 0


def test_a_folder_that_was_moved_is_still_set_up(ready: Setup) -> None:
    ready.folder = ready.folder.rename(ready.folder.with_name("elsewhere; 100%"))
    assert "setup: .venv is up to date" in ready.run().stdout
    assert ready.python("import small; print(small.__file__)").startswith(str(ready.folder))


def test_the_python_of_an_active_environment_is_not_taken(ready: Setup, tmp_path: Path) -> None:
    for name in ("conda", "other venv"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin/python3").write_text("#!/bin/sh\necho active >&2; exit 1\n")
        (tmp_path / name / "bin/python3").chmod(0o755)
    (ready.folder / ".venv/installed-lock").unlink()
    active = {"CONDA_PREFIX": str(tmp_path / "conda"), "VIRTUAL_ENV": str(tmp_path / "other venv")}
    path = ":".join([*(f"{folder}/bin" for folder in active.values()), os.environ["PATH"]])
    done = ready.run(PATH=path, **active)
    assert done.returncode == 0, done.stderr
    assert "active" not in done.stderr


def test_a_python_that_was_asked_for_is_taken_or_named(ready: Setup) -> None:
    assert "setup: .venv is up to date" in ready.run(f"PYTHON={sys.executable}").stdout
    (ready.folder / ".venv/installed-lock").unlink()
    done = ready.run("PYTHON=/no such/python")
    assert done.returncode != 0
    assert "setup: /no such/python not found; install Python 3.10 or later" in done.stderr


@as_root
def test_all_that_is_anothers_is_named_in_one_command(ready: Setup, open_folder: Path) -> None:
    mine = open_folder / "it's mine"
    shutil.copytree(ready.folder, mine, ignore=shutil.ignore_patterns(".venv", "var"))
    (mine / "var").mkdir()
    command = ("setpriv", f"--reuid={NOBODY}", "--clear-groups", "make", "setup")
    done = subprocess.run(command, cwd=mine, env=outside_make(), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"{mine}/var belongs to root; run: sudo chown -R nobody " in done.stderr
    named = shlex.split(done.stderr.splitlines()[0].partition("chown -R nobody ")[2])
    assert named == [f"{mine}/var", str(mine)]


def test_tests_run_where_nothing_can_be_kept_for_the_next_time() -> None:
    command = (
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-o",
        "cache_dir=/proc/none",
        "tests/framefleet/http/test_address.py",
    )
    done = subprocess.run(command, cwd=ROOT, env=outside_make(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
