"""Fleets and pictures for the end-to-end tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import pytest

from tests.e2e.fleet import LocalFleet, local_fleet


@pytest.fixture(scope="session")
def picture(sample_video: Path) -> bytes:
    """Frame 0 of the sample video, as JPEG."""
    _, frame = cv2.VideoCapture(str(sample_video)).read()
    return cv2.imencode(".jpg", frame)[1].tobytes()


@pytest.fixture
def new_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], LocalFleet]]:
    """Gives places for fleets; all of them are stopped when the test ends."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(local_fleet(tmp_path_factory.mktemp("var")))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    """One running fleet of 2 simulated instances for all tests of a module; each leaves it so."""
    with local_fleet(tmp_path_factory.mktemp("var")) as shared:
        shared.up()
        yield shared
