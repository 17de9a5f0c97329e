"""Ray Serve: one replica with dynamic batching, decoding off its event loop, in the throughput-optimised mode.

As "Performance Tuning" and "Dynamic Request Batching" describe: `async` methods, `max_ongoing_requests` raised,
`@serve.batch`, RAY_SERVE_THROUGHPUT_OPTIMIZED=1 (set by the roster), no access log, no dashboard.
"""

import asyncio
import signal

import ray
from ray import serve
from ray.serve.schema import LoggingConfig
from same_work import BATCH_WAIT_MS, CORES, MAX_BATCH, PORT, Accelerator, Letterboxed, as_text, decode, letterbox
from starlette.requests import Request
from starlette.responses import Response


def prepare(body: bytes) -> Letterboxed:
    """Decodes and letterboxes one picture."""
    return letterbox(decode(body))


@serve.deployment(
    max_ongoing_requests=100,
    ray_actor_options={"num_cpus": CORES},
    logging_config=LoggingConfig(enable_access_log=False, log_level="WARNING"),
)
class Detector:
    """Has the accelerator."""

    def __init__(self) -> None:
        self.accelerator = Accelerator()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_WAIT_MS / 1000)
    async def detect(self, taken: list[Letterboxed]) -> list[object]:
        """One batch."""
        return list(await asyncio.to_thread(self.accelerator.detect, taken))

    async def __call__(self, request: Request) -> Response:
        """Answers one picture."""
        taken = await asyncio.to_thread(prepare, await request.body())
        return Response(as_text(await self.detect(taken)), media_type="application/json")


if __name__ == "__main__":
    ray.init(include_dashboard=False, num_cpus=CORES, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT}, logging_config=LoggingConfig(enable_access_log=False))
    serve.run(Detector.bind(), route_prefix="/predict")
    signal.pause()
