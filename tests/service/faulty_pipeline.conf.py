"""As faulty.conf.py, with an engine that takes two batches at once."""

from pathlib import Path

import service.pipeline.detector
from tests.service.faulty_engine import FaultyPipeline

service.pipeline.detector.load_engine = lambda settings: FaultyPipeline(Path(settings.cache))
exec(compile(Path("service/server/gunicorn.conf.py").read_text(), "service/server/gunicorn.conf.py", "exec"))
