"""As faulty.conf.py, with an engine that takes two batches at once."""

from pathlib import Path

import service.detector
from tests.service.faulty_engine import FaultyPipeline

service.detector.load_engine = lambda settings: FaultyPipeline(Path(settings.cache))
exec(compile(Path("service/gunicorn.conf.py").read_text(), "service/gunicorn.conf.py", "exec"))
