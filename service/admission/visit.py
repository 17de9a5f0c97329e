"""What one request holds of its instance: its place, the bytes of its body, and those of its pixels, in that order.

The order is everybody's, so that nobody waits for a thing whose holder waits for him.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.admission.buffers import Buffers
from service.admission.ledger import Ledger
from service.admission.pool import Part, Pool
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
    """An instance's memory for `bodies` and for `pixels`, each bounded, and shared fairly by clients.

    What large ones are in comes from `buffers`, once there is room for it by those.
    """

    bodies: Pool
    pixels: Pool
    buffers: Buffers


def lanes() -> int:
    """Pictures that are decoded at once; one client has at most half of that, and so never all cores for ever."""
    return LANES_PER_CORE * len(os.sched_getaffinity(0))


def make_pools(settings: Settings, clock: Callable[[], float] = time.monotonic) -> Pools:
    """Makes what the largest body and the largest picture of the settings need, and a little beside them."""
    body = settings.max_body_bytes
    pixels = max(LEAST_PIXEL_BYTES, int(BYTES_A_PIXEL * settings.max_pixels) + body // 4)
    return Pools(
        # With a body nothing is computed yet: it needs no lane.
        Pool(Ledger(body, SPARE_BODY_BYTES, lanes(), clock, small=body + 1), clock, for_work=False),
        Pool(Ledger(pixels, SPARE_PIXEL_BYTES, lanes(), clock, small=SMALL_BYTES), clock),
        Buffers(clock=clock),
    )


class Visit:
    """One request.

    Args:
        pools: the instance's memory.
        client: who asks.
        places: of the queue that it holds.
        deadline: the clock's second after which nobody wants the answer.
        gone: whether the client has hung up.

    Attributes:
        body: the memory of its bytes.
    """

    def __init__(self, pools: Pools, client: str, places: int, deadline: float, gone: Callable[[], bool]) -> None:
        self.pools, self.client, self.places, self.deadline, self.gone = pools, client, places, deadline, gone
        self.body = Part(pools.bodies, client, deadline, gone)
        self._parts: list[Part] = []

    def shorten(self, timeout_ms: float) -> None:
        """Lets nobody want the answer any longer than so many ms from now."""
        self.deadline = min(self.deadline, self.pools.pixels.clock() + timeout_ms / 1000)

    def part(self) -> Part:
        """A part of the pixels' memory, which ends with the request at the latest."""
        part = Part(self.pools.pixels, self.client, self.deadline, self.gone)
        self._parts.append(part)
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
        for part in self._parts:
            part.release()
        self.body.release()
