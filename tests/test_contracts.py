"""Rules that the code keeps to; who may import whom is import-linter's, in pyproject.toml."""

import ast
import re
from collections import Counter
from pathlib import Path

import grimp
import pytest

from tests.conftest import SLOW

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("framefleet", "service", "deploy", "loadtest", "chaos", "bench")
# Programs of their own, which run in environments of their own.
SERVERS = ROOT / "bench" / "peers" / "servers"
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DEPLOY = [path for path in MODULES if path.is_relative_to(ROOT / "deploy")]
LOCKS = sorted((ROOT / "lock").glob("*.txt"))
MOST_MODULES = 15
MOST_ALONE = 0.15


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


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES}), ids=name)
def test_a_folder_has_at_most_fifteen_modules(folder: Path) -> None:
    assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= MOST_MODULES


@pytest.mark.parametrize("package", PACKAGES)
def test_a_class_has_a_name_of_its_own(package: str) -> None:
    names = Counter(
        node.name
        for path in MODULES
        if path.is_relative_to(ROOT / package) and path.parent != SERVERS
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, times in names.items() if times > 1] == []


def test_few_modules_are_there_for_one_other_alone() -> None:
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    alone = [
        module
        for module in sorted(graph.modules)
        if not graph.find_children(module) and len(graph.find_modules_that_directly_import(module)) == 1
    ]
    assert len(alone) <= MOST_ALONE * len(graph.modules), "\n".join(alone)


def test_nothing_that_waits_reads_a_clock_that_can_jump() -> None:
    # A time of day for people to read, or an age of files; whatever times out counts on the monotonic clock.
    for_people = {"service/protocols/oip/stats.py", "deploy/machine/run_lock.py", "deploy/rollout/recipes.py"}
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
    changing = re.compile(
        r"(?<!run)(?<!machine)\.(write_text|write_bytes|mkdir|unlink|rename|rmdir|symlink_to|chmod)\("
    )
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
