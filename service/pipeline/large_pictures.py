"""Decodes large pictures behind everything else: on threads that the kernel runs when nobody else needs the cores.

A thread may lower its priority but not raise it again, so these threads do nothing else.
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace

import numpy as np

from service.admission.buffers import Buffers
from service.admission.pool import Part
from service.errors import ServiceError
from service.pictures.body import decode
from service.pictures.image import Frame, ImageLimits, Pixels, unlimited

LARGE_BYTES = 32 * 2**20  # held while decoding: a baseline JPEG of 10 megapixels, a PNG of 5
NICENESS = 15


class _Large(ServiceError):
    """Ends the look at a picture's header: it is decoded elsewhere."""


class Decoder:
    """Decodes pictures in memory that is waited for.

    Args:
        lanes: large pictures that are decoded at once.
        buffers: for their pixels.
    """

    def __init__(self, lanes: int, buffers: Buffers) -> None:
        self._buffers = buffers
        self._behind = ThreadPoolExecutor(lanes, "large", initializer=_step_back)

    @contextmanager
    def decoded(
        self,
        picture: bytes | memoryview,
        limits: ImageLimits,
        part: Part,
        at_work: AbstractContextManager[None],
        drawn_bytes: int = 0,
    ) -> Iterator[Frame]:
        """Decodes one picture; see `service.pictures.body.decode`.

        Args:
            picture: its file.
            limits: the largest to decode.
            part: where its memory is claimed from.
            at_work: entered once that memory is there, and left with the block: nothing is waited for meanwhile.
            drawn_bytes: a pixel, at least.
        """
        with ExitStack() as working:

            def claim(pixels: int, size: int) -> None:
                part.claim(max(size, drawn_bytes * pixels))
                working.enter_context(at_work)
                if size >= LARGE_BYTES:
                    raise _Large

            frame: Frame | None = None
            limits = replace(limits, claim=claim, look=part.look, pixels_memory=self._pixels)
            with suppress(_Large):
                frame = decode(picture, limits)
            # Here, where the first look's frames and what they hold are gone.
            yield frame or self._behind.submit(decode, picture, replace(limits, claim=unlimited)).result()

    def _pixels(self, height: int, width: int) -> Pixels:
        memory = self._buffers.lend(height * width * 3)
        return np.frombuffer(memory, np.uint8).reshape(height, width, 3)


def _step_back() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
