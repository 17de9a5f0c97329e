"""A made-up GPU that does what it is told, late and out of order where nothing forbids it.

Work put on a stream is done only when somebody waits for it, and no earlier than that: a step that does not wait for
the one before it works on old memory and gives wrong answers. Memory is real bytes at made-up addresses, so that a
wrong address or size is found out too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Work = Callable[[], None]
FIRST_ADDRESS = 0x7F0000000000
ALIGNMENT = 256
FRESH = 0xA5
"""What memory holds until it is written."""


class DeviceError(Exception):
    """An error of the made-up driver: its `code`, by CUDA's name, and what CUDA says."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


OUT_OF_MEMORY = ("CUDA_ERROR_OUT_OF_MEMORY", "out of memory")
ILLEGAL_ADDRESS = ("CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered")
INVALID_VALUE = ("CUDA_ERROR_INVALID_VALUE", "invalid argument")


@dataclass(eq=False)
class FakeStream:
    """Work in order; `done` of `work` is done. While `recorded` is a list, work goes there instead."""

    device: FakeDevice
    handle: int
    work: list[Work] = field(default_factory=list)
    done: int = 0
    recorded: list[Work] | None = None

    def put(self, work: Work) -> None:
        self.device.check()
        (self.work if self.recorded is None else self.recorded).append(work)

    def run_until(self, place: int) -> None:
        while self.done < place:
            self.done += 1
            self.work[self.done - 1]()


@dataclass
class FakeDevice:
    """The GPU: its memory, streams and what happened, in `log`.

    `limit`: bytes of device memory; `broken`: every call fails from now on; `break_at`: the n-th batch computed from
    now on breaks it; `lacking`: so many batches from now on find too little memory; `threads`: those that called.
    """

    name: str = "Made-up GPU"
    compute: tuple[int, int] = (8, 6)
    limit: int = 2**40
    log: list[str] = field(default_factory=list)
    broken: bool = False
    break_at: int = 0
    lacking: int = 0
    threads: set[str] = field(default_factory=set)
    memory: dict[int, npt.NDArray[np.uint8]] = field(default_factory=dict)
    pinned: dict[int, int] = field(default_factory=dict)
    streams: list[FakeStream] = field(default_factory=list)
    contexts: dict[str, list[object]] = field(default_factory=dict)
    _next: int = FIRST_ADDRESS

    def check(self) -> None:
        """Fails as CUDA does: without a context on this thread, or after an error that is not to be got over."""
        thread = threading.current_thread().name
        self.threads.add(thread)
        if not self.contexts.get(thread):
            raise DeviceError("CUDA_ERROR_INVALID_CONTEXT", "invalid device context")
        if self.broken:
            raise DeviceError(*ILLEGAL_ADDRESS)

    def stream(self) -> FakeStream:
        self.check()
        self.streams.append(FakeStream(self, 0x1000 + len(self.streams)))
        return self.streams[-1]

    def stream_of(self, handle: int) -> FakeStream:
        (found,) = [stream for stream in self.streams if stream.handle == handle]
        return found

    def allocate(self, size: int) -> int:
        self.check()
        if size < 1:
            raise DeviceError(*INVALID_VALUE)
        if sum(len(block) for block in self.memory.values()) + size > self.limit:
            raise DeviceError(*OUT_OF_MEMORY)
        address = self._next
        self._next += -(-size // ALIGNMENT) * ALIGNMENT + ALIGNMENT
        self.memory[address] = np.full(size, FRESH, np.uint8)
        return address

    def free(self, address: int) -> None:
        self.check()
        del self.memory[address]

    def at(self, address: int, size: int) -> npt.NDArray[np.uint8]:
        """Device memory; touching what was not taken breaks the device, as it does a real one."""
        block = self.memory.get(address)
        if block is None or size > len(block):
            self.broken = True
            raise DeviceError(*ILLEGAL_ADDRESS)
        return block[:size]

    def compute_now(self, batch: Work) -> None:
        """Runs a batch's kernels, or breaks."""
        if self.break_at:
            self.break_at -= 1
            if not self.break_at:
                self.broken = True
        if self.broken:
            raise DeviceError(*ILLEGAL_ADDRESS)
        if self.lacking:
            self.lacking -= 1
            raise DeviceError(*OUT_OF_MEMORY)
        batch()

    def synchronize(self) -> None:
        for stream in self.streams:
            stream.run_until(len(stream.work))
        self.check()
