"""A sequence of bodies of which only so many are held in memory: bytes -> [Spool] -> bytes, the rest on disk."""

import os
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from typing import overload

from loadtest.errors import VideoError

# An ordinary clip fits; beyond it a body is read from the kernel's cache as it is sent.
HELD_BYTES = 128 * 2**20


class Spool(Sequence[bytes]):
    """Bodies that are made once and then only read; equal to any sequence of the same ones.

    Args:
        bodies: in order; they are taken one at a time.
        held: size of those that stay in memory, in bytes. The others are in a file without a name, which goes with us.

    Raises:
        VideoError: the disk is full.
    """

    def __init__(self, bodies: Iterable[bytes], held: int = HELD_BYTES) -> None:
        self._held: list[bytes] = []
        self._ends = [0]
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as we are
        weakref.finalize(self, self._file.close)
        left = held
        try:
            for body in bodies:
                left -= len(body)  # below 0 it stays there, so those on disk are the last ones
                if left >= 0:
                    self._held.append(body)
                else:
                    self._ends.append(self._ends[-1] + self._file.write(body))
            self._file.flush()
        except OSError as error:
            raise VideoError(
                f"{tempfile.gettempdir()}: {error.strerror}; take fewer or smaller frames with --max-frames, --width"
            ) from None

    def __len__(self) -> int:
        return len(self._held) + len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return tuple(self[one] for one in range(*index.indices(len(self))))
        place = range(len(self))[index]
        if place < len(self._held):
            return self._held[place]
        number = place - len(self._held)
        begin, end = self._ends[number], self._ends[number + 1]
        return os.pread(self._file.fileno(), end - begin, begin)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]
