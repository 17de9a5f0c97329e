"""Machines for the tests of this folder. `make test-hosts` runs them; elsewhere they are skipped, with the reason."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from tests.hosts.bundles import BundleMaker
from tests.hosts.debian import cache_folder, missing
from tests.hosts.lab import Lab, lab
from tests.hosts.machines import Machine
from tests.hosts.operator import KIT, ONE_HOST, Operator

HERE = Path(__file__).parent
FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "hosts: boots whole Debian machines")
    config.stash[FIGURES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Shows what the tests measured, which docs/deploy.md has from a quiet machine."""
    for line in config.stash[FIGURES]:
        terminalreporter.write_line(line)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked_for = "hosts" in config.getoption("markexpr")
    reason = missing() if asked_for else "boots machines: make test-hosts"
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("hosts")
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def machines() -> Iterator[Lab]:
    """Where machines stand."""
    with lab(cache_folder()) as place:
        yield place


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> list[str]:
    """Takes lines about what a test measured."""
    return request.config.stash[FIGURES]


@pytest.fixture(scope="session")
def picture_file(sample_video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frame 0 of the sample video, as JPEG."""
    _, frame = cv2.VideoCapture(str(sample_video)).read()
    file = tmp_path_factory.mktemp("picture") / "frame.jpg"
    file.write_bytes(cv2.imencode(".jpg", frame)[1].tobytes())
    return file


@pytest.fixture(scope="session")
def picture(picture_file: Path) -> bytes:
    return picture_file.read_bytes()


@pytest.fixture(scope="session")
def bundles(picture_file: Path) -> Iterator[BundleMaker]:
    """Makes bundles; they are gone afterwards, their wheels are kept for the next time."""
    maker = BundleMaker(cache_folder() / "bundles", picture_file)
    yield maker
    maker.remove()


@pytest.fixture(scope="session")
def one_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet.toml of one host with two instances."""
    file = tmp_path_factory.mktemp("fleet") / "fleet.toml"
    file.write_text(ONE_HOST)
    return file


@pytest.fixture(scope="session")
def first_bundle(bundles: BundleMaker, one_host: Path) -> Path:
    return bundles.make(one_host)


@pytest.fixture(scope="session")
def second_bundle(bundles: BundleMaker, one_host: Path, first_bundle: Path) -> Path:
    """A later release of the same code."""
    return bundles.make(one_host)


@pytest.fixture(scope="session")
def deployed(machines: Lab, first_bundle: Path) -> Machine:
    """A machine that is switched off, on which the first release was deployed; to be copied."""
    operator = Operator(machines.machine("h1"))
    operator.machine.boot()
    operator.carry(first_bundle)
    done = operator.deploy(first_bundle)
    assert done.returncode == 0, done.stdout + done.stderr
    operator.machine.ssh(f"rm -r {KIT}")
    operator.machine.power_off()
    return operator.machine


@pytest.fixture
def serving(machines: Lab, deployed: Machine, first_bundle: Path) -> Iterator[Operator]:
    """Somebody at a machine that serves the first release, as it does since it was switched on."""
    operator = Operator(machines.machine("h1", like=deployed))
    operator.machine.boot()
    operator.wait_until_serving(first_bundle)
    yield operator
    operator.machine.remove()
