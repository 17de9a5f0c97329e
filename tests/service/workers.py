"""Workers of real instances: the service's own, each with something of a test's in the place of a part."""

from pathlib import Path
from typing import Any

import numpy as np

import service.protocols.exchange
import service.safeguards.memory
from service.admission.buffers import Buffers
from service.engines import Engine
from service.server.worker import DetectorWorker
from tests.service.digest_engine import DigestEngine
from tests.service.faulty_engine import FaultyEngine, FaultyPipeline


class FaultyWorker(DetectorWorker):
    """With an engine that fails on cue; memory is watched from the first moment."""

    def open_engine(self) -> Engine:
        return FaultyEngine(Path(self.settings.cache))

    def init_process(self) -> None:
        service.safeguards.memory.LEAST_LIFE_S = 0.0
        super().init_process()


class FaultyPipelineWorker(DetectorWorker):
    """With an engine that fails on cue, and takes two batches at once."""

    def open_engine(self) -> Engine:
        return FaultyPipeline(Path(self.settings.cache))


class CopyingWorker(DetectorWorker):
    """Whose every body comes through gunicorn's and Werkzeug's own readers."""

    def open_engine(self) -> Engine:
        return DigestEngine()

    def init_process(self) -> None:
        def no_body(environ: Any) -> None:
            return None

        service.protocols.exchange.sent_body = no_body
        super().init_process()


class PoisonedWorker(DetectorWorker):
    """With memory that is filled with rubbish whenever it is lent once more."""

    def open_engine(self) -> Engine:
        return DigestEngine()

    def init_process(self) -> None:
        lend = Buffers.lend

        def poisoned(buffers: Buffers, size: int) -> memoryview:
            view = lend(buffers, size)
            np.frombuffer(view, np.uint8)[:] = 0xA5
            return view

        Buffers.lend = poisoned  # type: ignore[method-assign]
        super().init_process()
