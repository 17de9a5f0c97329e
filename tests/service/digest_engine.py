"""An engine that answers with a checksum of each frame: one stale byte in it is another answer."""

import zlib
from types import TracebackType

import numpy as np
import numpy.typing as npt

from service.engines import EngineInfo

SIZE = 64
CORNERS = ((30, 30), (32, 30), (30, 32), (32, 32))  # in the middle, where there is a picture in any case
SCORES = (0.9, 0.8, 0.7, 0.6)


def digest(frame: npt.NDArray[np.uint8]) -> list[int]:
    """The four bytes of a frame's checksum."""
    return list(zlib.crc32(np.ascontiguousarray(frame)).to_bytes(4, "big"))


def _box(corner: tuple[int, int], score: float, byte: int) -> tuple[float, ...]:
    x, y = corner
    return x, y, x + 2, y + 2, score, byte


class DigestEngine:
    """Answers four boxes, whose classes are the bytes of the frame's checksum."""

    def __init__(self) -> None:
        self.info = EngineInfo("digest", "digest", "none", (SIZE, SIZE), 4, tuple(map(str, range(256))))

    def infer(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.array([list(map(_box, CORNERS, SCORES, digest(frame))) for frame in frames], np.float32)

    def __enter__(self) -> "DigestEngine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""
