"""The service's own gunicorn settings, with memory that is filled with rubbish whenever it is lent once more."""

from pathlib import Path

import numpy as np

import service.pipeline.detector
from service.admission.buffers import Buffers
from tests.service.digest_engine import DigestEngine

lend = Buffers.lend


def poisoned(buffers: Buffers, size: int) -> memoryview:
    view = lend(buffers, size)
    np.frombuffer(view, np.uint8)[:] = 0xA5
    return view


Buffers.lend = poisoned
service.pipeline.detector.load_engine = lambda settings: DigestEngine()
exec(compile(Path("service/server/gunicorn.conf.py").read_text(), "service/server/gunicorn.conf.py", "exec"))
