"""Fixtures that every part of the suite shares."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from framefleet.machine.ports import reserved_ports

# A shell that starts us in the background lets us ignore Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
ROOT = Path(__file__).resolve().parent.parent
# Every server of a test is on this machine, which a proxy cannot reach.
for _name in ("no_proxy", "NO_PROXY"):
    os.environ[_name] = ",".join(filter(None, (os.environ.get(_name), "localhost,127.0.0.1,127.0.0.0/8")))
# What takes longest: `make test`, which is to end in about ten minutes, leaves it to `make test-slow`.
SLOW = (
    "tests/bench/peers/test_run.py",
    "tests/bench/test_tune.py",
    "tests/chaos",
    "tests/e2e/test_host_deploy.py",
    "tests/e2e/test_paths.py",
    "tests/e2e/test_scenarios.py",
    "tests/e2e/test_users.py",
    "tests/e2e/test_verbs.py",
    "tests/fuzz",
    "tests/loadtest/capacity/test_command.py",
    "tests/loadtest/scenario/test_command.py",
    "tests/loadtest/generate/test_replay.py",
    "tests/loadtest/generate/test_steps.py",
    "tests/service/protocols/pages",
    "tests/service/pictures/test_corpus.py",
    "tests/service/test_hostile_bodies.py",
    "tests/service/test_schemathesis.py",
    "tests/tools/test_environments.py",
    "tests/tools/test_setup.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(item.path.is_relative_to(ROOT / name) for name in SLOW):
            item.add_marker("slow")


def _made_by_setup(path: Path) -> Path:
    if not path.exists():
        pytest.fail(f"{path}: missing; run `make setup` first")
    return path


@pytest.fixture(scope="session")
def repo_root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def default_model() -> Path:
    return _made_by_setup(ROOT / "var/models/centerface-320.onnx")


@pytest.fixture(scope="session")
def sample_video() -> Path:
    return _made_by_setup(ROOT / "var/video/carphone_pristine.mp4")


@pytest.fixture(scope="session")
def free_port() -> Iterator[Callable[[], int]]:
    """Gives TCP ports that stay reserved until the last test has ended."""
    with ExitStack() as held:
        yield lambda: held.enter_context(reserved_ports())


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder of root that everybody may look into; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)
