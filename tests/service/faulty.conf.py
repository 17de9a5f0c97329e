"""The service's own gunicorn settings, with an engine that fails on cue put in the real one's place."""

from pathlib import Path

import service.pipeline.detector
import service.safeguards.memory
from tests.service.faulty_engine import FaultyEngine

service.pipeline.detector.load_engine = lambda settings: FaultyEngine(Path(settings.cache))
service.safeguards.memory.LEAST_LIFE_S = 0.0
exec(compile(Path("service/server/gunicorn.conf.py").read_text(), "service/server/gunicorn.conf.py", "exec"))
