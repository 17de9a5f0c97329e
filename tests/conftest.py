"""Fixtures that every part of the suite shares."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# What takes longest: `make test`, which is to end within ten minutes, leaves it to `make test-slow`.
SLOW = (
    "tests/chaos",
    "tests/e2e/test_host_deploy.py",
    "tests/e2e/test_scenarios.py",
    "tests/fuzz",
    "tests/loadtest/capacity/test_command.py",
    "tests/loadtest/scenario/test_command.py",
    "tests/loadtest/test_stepping.py",
    "tests/service/pages",
    "tests/service/test_corpus.py",
    "tests/service/test_hostile_bodies.py",
    "tests/service/test_schemathesis.py",
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
def free_port() -> Callable[[], int]:
    """Gives a TCP port of 127.0.0.1 that nobody listened on a moment ago, never the same one twice."""
    given: set[int] = set()

    def find() -> int:
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port: int = probe.getsockname()[1]
            if port not in given:
                given.add(port)
                return port

    return find
