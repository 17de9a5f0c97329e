"""Takes in what the load generators of a run report and keeps it in the run folder: blocks, faults, ends -> disk."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol

from loadtest.measure import run_folder
from loadtest.measure.faults import Fault, FaultWriter
from loadtest.measure.run_folder import EndRecord
from loadtest.measure.sample_files import SampleFile


class Outlet(Protocol):
    """Where one generator reports to."""

    def samples(self, block: bytes) -> None:
        """Takes whole sample records."""

    def fault(self, fault: Fault) -> None:
        """Takes one answer that was not right."""

    def end(self, end: EndRecord) -> None:
        """Takes the generator's last word."""


class Collector:
    """Writes a run folder's samples, faults and end; use it with `with`.

    Args:
        folder: the run folder.
        parts: number of generators.
    """

    def __init__(self, folder: Path, parts: int) -> None:
        self._folder = folder
        self._files = [SampleFile(folder / run_folder.samples_name(part)) for part in range(parts)]
        self._faults = FaultWriter(folder / run_folder.FAULTS)
        self._ends: dict[int, EndRecord] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "Collector":
        for file in self._files:
            self._stack.enter_context(file)
        self._stack.enter_context(self._faults)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        # A generator that died could not say how it fared: then nobody vouches for the run.
        if self.finished:
            run_folder.write(merge(list(self._ends.values())), self._folder / run_folder.END)

    @property
    def finished(self) -> bool:
        """Whether every generator said its last word."""
        return len(self._ends) == len(self._files)

    def outlet(self, part: int) -> Outlet:
        """Where a generator's reports go."""
        return _Part(self._files[part], self._faults, self._ends, part)


def merge(ends: Sequence[EndRecord]) -> EndRecord:
    """The end of the whole run: complete if all parts are, and as busy as the busiest generator."""
    return EndRecord(
        complete=all(end.complete for end in ends),
        elapsed_s=max(end.elapsed_s for end in ends),
        generator_cpu=max((end.generator_cpu for end in ends), default=math.nan),
        processes=sum(end.processes for end in ends),
        starved=sum(end.starved for end in ends),
    )


class _Part:
    def __init__(self, file: SampleFile, faults: FaultWriter, ends: dict[int, EndRecord], part: int) -> None:
        self._file = file
        self._faults = faults
        self._ends = ends
        self._part = part

    def samples(self, block: bytes) -> None:
        self._file.append(block)

    def fault(self, fault: Fault) -> None:
        self._faults.write(fault)

    def end(self, end: EndRecord) -> None:
        self._ends[self._part] = end
