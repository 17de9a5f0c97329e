"""The service's own worker, on a machine with a made-up GPU."""

import os
import sys
from functools import partial
from pathlib import Path

import service.engines.trt.engine
from service.engines import Engine
from service.engines.trt.engine import TrtEngine
from service.server.worker import DetectorWorker
from tests.service.engines.trt_machine import Machine, modules


class TrtWorker(DetectorWorker):
    """With the real engine on a device that breaks at the inference which MADE_UP_GPU_BREAKS_AT counts to."""

    def open_engine(self) -> Engine:
        machine = Machine(Path.cwd())
        machine.device.break_at = int(os.environ.get("MADE_UP_GPU_BREAKS_AT", "0"))
        sys.modules.update(modules(machine))
        service.engines.trt.engine.TrtEngine = partial(TrtEngine, load_library=machine.libraries)  # type: ignore[misc,assignment]
        return super().open_engine()
