"""LitServe: batching in inference workers, one worker a core, its fast queue.

As the documentation of `LitServer` says: `workers_per_device` is the number of cores on a CPU, `fast_queue` from 100
requests a second on; batches as in "Batching". The body comes raw, which costs less than its forms and JSON.
"""

from typing import Annotated

import litserve
import numpy as np
from fastapi import Body, Response
from same_work import BATCH_WAIT_MS, CORES, MAX_BATCH, PORT, Accelerator, Letterboxed, as_text, boxes, decode, letterbox


class Detector(litserve.LitAPI):
    """Decodes, infers in batches, answers."""

    def setup(self, device: str) -> None:
        """Opens the accelerator, in each worker."""
        self.accelerator = Accelerator()

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> Letterboxed:
        """One picture."""
        return letterbox(decode(request))

    def batch(self, inputs: list[Letterboxed]) -> tuple[list[Letterboxed], np.ndarray]:
        """Stacks what the accelerator takes."""
        return inputs, np.stack([one.slot for one in inputs])

    def predict(self, x: tuple[list[Letterboxed], np.ndarray]) -> list[object]:
        """One batch."""
        taken, frames = x
        return [boxes(one, corner) for one, corner in zip(taken, self.accelerator.infer(frames), strict=True)]

    def unbatch(self, output: list[object]) -> list[object]:
        """An answer for each."""
        return output

    def encode_response(self, output: object) -> Response:
        """JSON."""
        return Response(as_text(output), media_type="application/json")


if __name__ == "__main__":
    api = Detector(max_batch_size=MAX_BATCH, batch_timeout=BATCH_WAIT_MS / 1000, api_path="/predict")
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=CORES, fast_queue=True)
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning")
