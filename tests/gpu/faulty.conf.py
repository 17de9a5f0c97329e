"""The service's own gunicorn settings, with a torch engine that breaks its device on cue."""

from pathlib import Path

import service.pipeline.detector
from tests.gpu.faulty_torch import FaultyTorchEngine

service.pipeline.detector.load_engine = lambda settings: FaultyTorchEngine(
    settings.model,
    device=settings.device,
    precision=settings.precision,
    threads=settings.threads,
    max_batch=settings.max_batch,
)
exec(compile(Path("service/server/gunicorn.conf.py").read_text(), "service/server/gunicorn.conf.py", "exec"))
