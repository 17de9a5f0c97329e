"""Sample files: [Sample...] -> blocks of records on disk -> table.

Records are only ever appended, so a run that is cut short keeps what it had, and a reader may follow along. Several
generators fill a file each; `read` merges them.
"""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from loadtest.errors import RunError
from loadtest.measure.new_file import NewFile
from loadtest.measure.samples import HEADER, STORED, Encoder, Sample, SampleTable, count_verdicts, merge, whole_records
from loadtest.target.verdict import Verdict

FLUSH_EVERY_S = 0.5
PATTERN = "samples*.bin"


class SampleWriter:
    """Encodes samples and hands them on in blocks; use it with `with`.

    Args:
        sink: takes each block of whole records, e.g. appends it to a file.
        clock: seconds, decides when a block is complete.
    """

    def __init__(self, sink: Callable[[bytes], object], clock: Callable[[], float]) -> None:
        self._sink = sink
        self._clock = clock
        self._encoder = Encoder()
        self._block: list[bytes] = []
        self._flushed_s = clock()

    def __enter__(self) -> "SampleWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()

    def write(self, sample: Sample) -> None:
        """Adds one sample; it is handed on within half a second of the next one."""
        self._block.append(self._encoder.encode(sample))
        if self._clock() - self._flushed_s >= FLUSH_EVERY_S:
            self._flush()

    def _flush(self) -> None:
        block, self._block = b"".join(self._block), []
        self._flushed_s = self._clock()
        if block:
            self._sink(block)


class SampleFile(NewFile):
    """Takes blocks of records, after the header."""

    def __enter__(self) -> "SampleFile":
        super().__enter__()
        self.append(HEADER)
        return self

    def append(self, block: bytes) -> None:
        """Puts whole records on disk."""
        self.opened.write(block)
        self.opened.flush()


def read(folder: Path) -> SampleTable:
    """All samples of a run folder (`samples*.bin`, one file per load generator), in scheduled order.

    Returns:
        Structured array [samples] as `samples.merge` gives it; an unfinished last record is left out.

    Raises:
        RunError: there is no sample file, or one is of another kind.
    """
    paths = sorted(folder.glob(PATTERN))
    if not paths:
        raise RunError(f"{folder}: no {PATTERN}; give the folder of a replay")
    try:
        return merge(map(_records, paths))
    except ValueError as error:
        raise RunError(f"{folder}: {error}; run the replay again") from None


def _records(path: Path) -> NDArray[np.void]:
    with path.open("rb") as file:
        if file.read(len(HEADER)) != HEADER:
            raise RunError(f"{path}: is no sample file of this version; run the replay again")
    return np.fromfile(path, dtype=STORED, offset=len(HEADER))


class VerdictTail:
    """Counts the verdicts of a run's growing sample files, reading each record once.

    Args:
        folder: of the run; its files need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets: dict[Path, int] = {}
        self.counts: dict[str, int] = {verdict.value: 0 for verdict in Verdict}

    def update(self) -> int:
        """Reads what is new and returns the number of samples so far."""
        for path in self._folder.glob(PATTERN):
            offset = self._offsets.get(path, len(HEADER))
            with path.open("rb") as file:
                file.seek(offset)
                fresh = file.read()
            whole = whole_records(len(fresh))
            self._offsets[path] = offset + whole
            for verdict, number in count_verdicts(fresh[:whole]).items():
                self.counts[verdict] += number
        return sum(self.counts.values())
