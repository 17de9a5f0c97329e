"""What one request holds of its instance: its place, the bytes of its body, and those of its pixels, in that order.

The order is everybody's, so that nobody waits for a thing whose holder waits for him.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from service.batch_queue import BatchQueue, never_gone
from service.ledger import Ledger
from service.pool import Part, Pool
from service.settings import Settings

# A progressive picture's coefficients and its pixels; rarer kinds that take more have to be smaller (measured).
BYTES_A_PIXEL = 9.05
LEAST_PIXEL_BYTES = 64 * 2**20
LANES_PER_CORE = 2
# Held while a picture is decoded that takes a few milliseconds: a baseline JPEG of 5 megapixels.
SMALL_BYTES = 16 * 2**20
# Beside the largest picture, and the largest body, there is room for other clients' usual ones: a JPEG of 8 megapixels.
SPARE_PIXEL_BYTES = 40 * 2**20
SPARE_BODY_BYTES = 16 * 2**20
# Of a picture that is drawn: the frame, and what becomes the answer.
DRAWN_BYTES_A_PIXEL = 6


@dataclass(frozen=True, slots=True)
class Pools:
    """An instance's memory for `bodies` and for `pixels`, each bounded, and shared fairly by clients."""

    bodies: Pool
    pixels: Pool


def lanes() -> int:
    """Pictures that are decoded at once; one client has at most half of that, and so never all cores for ever."""
    return LANES_PER_CORE * len(os.sched_getaffinity(0))


def make_pools(settings: Settings, clock: Callable[[], float] = time.monotonic) -> Pools:
    """Makes what the largest body and the largest picture of the settings need, and a little beside them."""
    body = settings.max_body_bytes
    pixels = max(LEAST_PIXEL_BYTES, int(BYTES_A_PIXEL * settings.max_pixels) + body // 4)
    return Pools(
        Pool(Ledger(body, SPARE_BODY_BYTES, lanes(), clock, small=body + 1), clock),  # nothing is computed
        Pool(Ledger(pixels, SPARE_PIXEL_BYTES, lanes(), clock, small=SMALL_BYTES), clock),
    )


@dataclass(frozen=True, slots=True)
class Visit:
    """One request.

    `client`: who asks; `places` of the queue it holds; `deadline`: the clock's second after which nobody wants the
    answer; `gone`: whether the client has hung up; `body`: its bytes; `parts`: what it holds until it is answered.
    """

    pools: Pools
    client: str = ""
    places: int = 0
    deadline: float = float("inf")
    gone: Callable[[], bool] = never_gone
    body: Part = field(init=False)
    parts: list[Part] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begins without a body."""
        object.__setattr__(self, "body", Part(self.pools.bodies, self.client, self.deadline, self.gone))

    def part(self, deadline: float = float("inf")) -> Part:
        """A part of the pixels' memory, which ends with the request at the latest.

        Args:
            deadline: the clock's second, where it is before the request's own.
        """
        part = Part(self.pools.pixels, self.client, min(deadline, self.deadline), self.gone)
        self.parts.append(part)
        return part

    @contextmanager
    def working(self, size: int) -> Iterator[None]:
        """Holds so many bytes, or all there are, while something else than a picture is taken apart.

        Raises:
            DeadlineExceeded: they were not there in time, or the client has gone.
        """
        with self.part() as part:
            part.claim(min(size, self.pools.pixels.ledger.capacity))
            yield

    def close(self) -> None:
        """Gives everything back."""
        for part in self.parts:
            part.release()
        self.body.release()


@contextmanager
def visiting(
    pools: Pools, queue: BatchQueue, client: str, deadline: float, gone: Callable[[], bool]
) -> Iterator[Visit]:
    """Takes a request in, before its body is read.

    Raises:
        Overloaded: there is no place left for this client.
    """
    with queue.admit(1, client):
        visit = Visit(pools, client, 1, deadline, gone)
        try:
            yield visit
        finally:
            visit.close()
