"""The service's own gunicorn settings, with an engine that fails on cue put in the real one's place."""

from pathlib import Path

import service.detector
import service.memory
from tests.service.faulty_engine import FaultyEngine

service.detector.load_engine = lambda settings: FaultyEngine(Path(settings.cache))
service.memory.LEAST_LIFE_S = 0.0
exec(compile(Path("service/gunicorn.conf.py").read_text(), "service/gunicorn.conf.py", "exec"))
