"""The service's own worker, with a torch engine that breaks its device on cue."""

from service.engines import Engine
from service.server.worker import DetectorWorker
from tests.gpu.faulty_torch import FaultyTorchEngine


class FaultyTorchWorker(DetectorWorker):
    """With the engine the settings name, which breaks on cue."""

    def open_engine(self) -> Engine:
        return FaultyTorchEngine(
            self.settings.model,
            device=self.settings.device,
            precision=self.settings.precision,
            threads=self.settings.threads,
            max_batch=self.settings.max_batch,
        )
