"""One application over an engine whose answers a test knows; a module overrides `settings` for other ones."""

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from service.app import create_app
from service.pipeline.detector import Detector
from service.settings import Settings
from tests.service.fakes import ScriptedEngine
from tests.service.scripted import SETTINGS


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def settings() -> Settings:
    return SETTINGS


@pytest.fixture
def client(engine: ScriptedEngine, settings: Settings) -> Iterator[FlaskClient]:
    detector = Detector(settings, open_engine=lambda: engine)
    detector.start()
    yield create_app(settings, detector).test_client()
    engine.gate.set()
    detector.batcher.stop()
