"""BentoML: one service, a worker a core, requests on threads.

As "Parallelize requests handling" and "Concurrency" describe for a service that is bound by the CPU. Adaptive batching
in a service of its own behind this one, which its documents draw, was tried: the pictures then go through HTTP a second
time, at twice the CPU time a request, and a tenth of the requests was answered 500 under load.
"""

from typing import Annotated

import bentoml
from bentoml.validators import ContentType
from same_work import CORES, Accelerator, as_text, decode, letterbox


@bentoml.service(workers=CORES, threads=16, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Detector:
    """Decodes, infers, answers."""

    def __init__(self) -> None:
        self.accelerator = Accelerator()

    @bentoml.api(route="/predict")
    def predict(
        self, body: Annotated[bytes, ContentType("image/jpeg")], /
    ) -> Annotated[bytes, ContentType("application/json")]:
        """Answers one picture."""
        return as_text(self.accelerator.detect([letterbox(decode(body))])[0])
