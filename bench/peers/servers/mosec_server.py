"""mosec: a CPU stage of one process a core, and one process at the accelerator with dynamic batching.

As its "Performance tuning" asks for: stages for CPU and GPU, own `deserialize` and `serialize` in place of JSON for
pictures, `max_wait_time` shorter than an inference.
"""

import sys

from mosec import Server, Worker
from same_work import BATCH_WAIT_MS, CORES, MAX_BATCH, PORT, Accelerator, Letterboxed, as_text, decode, letterbox


class Preprocess(Worker):
    """Decodes and letterboxes."""

    def deserialize(self, data: bytes) -> bytes:
        """The body is the picture file."""
        return data

    def forward(self, data: bytes) -> Letterboxed:
        """One picture."""
        return letterbox(decode(data))


class Inference(Worker):
    """Has the accelerator."""

    def __init__(self) -> None:
        self.accelerator = Accelerator()

    def forward(self, data: list[Letterboxed]) -> list[list[dict[str, list[float]]]]:
        """One batch."""
        return self.accelerator.detect(data)

    def serialize(self, data: object) -> bytes:
        """The answer is the first server's JSON."""
        return as_text(data)


if __name__ == "__main__":
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", str(PORT)]
    server = Server()
    server.append_worker(Preprocess, num=CORES, route="/predict")
    server.append_worker(Inference, num=1, max_batch_size=MAX_BATCH, max_wait_time=BATCH_WAIT_MS, route="/predict")
    server.run()
