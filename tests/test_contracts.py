"""The rules that holds the packages apart and the code small."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import SLOW

ROOT = Path(__file__).resolve().parent.parent
SHARED = "framefleet"
PACKAGES = ("service", "deploy", "loadtest", "chaos", SHARED)
# Runs inside an instance of a rehearsal, as part of the service there.
INSIDE_AN_INSTANCE = ROOT / "chaos" / "faulty.conf.py"
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DEPLOY = [path for path in MODULES if path.is_relative_to(ROOT / "deploy")]
LOCKS = sorted((ROOT / "lock").glob("*.txt"))
MAX_MODULE_LINES = 350
MAX_FUNCTION_LINES = 60


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", [path for path in MODULES if path != INSIDE_AN_INSTANCE], ids=name)
def test_no_package_imports_another(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0]
    others = set(PACKAGES) - {own, SHARED}
    assert imported(ast.parse(path.read_text())) & others == set()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_modules_and_functions_stay_small(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= MAX_MODULE_LINES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{node.name} has {lines} lines"


def test_nothing_that_waits_reads_a_clock_that_can_jump() -> None:
    # A time of day for people to read, or an age of files; whatever times out counts on the monotonic clock.
    for_people = {"service/protocols/oip/stats.py", "deploy/machine/run_lock.py", "deploy/rollout/host_recipes.py"}
    for_files = {"service/safeguards/quarantine.py"}
    is_one = {"chaos/jumping_clock.py"}
    readers = {
        name(path)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "time" and getattr(node.value, "id", "") == "time"
    }
    assert readers == for_people | for_files | is_one


def test_every_folder_of_tests_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert [name(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_what_is_called_slow_is_there() -> None:
    assert [name for name in SLOW if not (ROOT / name).exists()] == []


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    assert [name(path) for path in MODULES if path.stem in ("utils", "helpers", "common", "misc")] == []


def test_only_named_files_of_deploy_start_processes() -> None:
    starters = [path for path in DEPLOY if "subprocess" in imported(ast.parse(path.read_text()))]
    assert {name(path) for path in starters} == {
        *(
            "deploy/ship/bootstrap.py",
            "deploy/machine/run.py",
            "deploy/machine/run_files.py",
            "deploy/machine/run_host.py",
        )
    }


def test_only_files_named_run_and_the_bootstrap_change_files() -> None:
    edges = {path for path in DEPLOY if path.stem.split("_")[0] in ("run", "bootstrap")}
    changing = re.compile(r"(?<!run)\.(write_text|write_bytes|mkdir|unlink|rename|rmdir|symlink_to|chmod)\(")
    assert [name(path) for path in DEPLOY if path not in edges and changing.search(path.read_text())] == []


@pytest.mark.parametrize("lock", LOCKS, ids=name)
def test_locks_pin_by_hash_and_name_no_host(lock: Path) -> None:
    text = lock.read_text()
    assert re.findall(r"https?://|--(extra-)?index-url|--find-links", text) == []
    pins = [line for line in text.splitlines() if "==" in line.split(";")[0]]
    assert pins and all(line.endswith("\\") for line in pins)


@pytest.mark.parametrize("lock", LOCKS, ids=name)
def test_torch_is_never_pulled_in_without_being_asked_for(lock: Path) -> None:
    assert re.findall(r"^(torch|torchvision|tensorrt\S*|pycuda)==", lock.read_text(), re.MULTILINE) == []
