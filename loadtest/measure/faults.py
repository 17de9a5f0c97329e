"""Why answers were not the same, one JSON line each: [Fault...] on disk -> report. The samples only count them."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from loadtest.errors import RunError
from loadtest.measure.new_file import NewFile
from loadtest.target.verdict import Verdict

# The first ones tell the story; an outage must not fill the disk.
MOST = 1000


@dataclass(frozen=True, slots=True)
class Fault:
    """One arrival that was not answered as without load.

    Attributes:
        camera: number of the camera.
        frame: index into the frame set.
        scheduled_s: moment it was due, in seconds from the start of the run.
        verdict: how it was counted.
        instance: who answered, empty if unknown.
        request_id: `X-Request-ID` it was sent with, to find it in the service's log.
        reason: what was not the same, in one line.
    """

    camera: int
    frame: int
    scheduled_s: float
    verdict: Verdict
    instance: str
    request_id: str
    reason: str


class FaultWriter(NewFile):
    """Takes faults, the first thousand of them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._written = 0

    def write(self, fault: Fault) -> None:
        """Adds one fault, unless there are enough."""
        file = self.opened
        if self._written < MOST:
            file.write(msgspec.json.encode(fault) + b"\n")
            self._written += 1


def read(path: Path) -> tuple[Fault, ...]:
    """The faults of a run, none if the file is missing; an unfinished last line is left out."""
    if not path.exists():
        return ()
    whole = path.read_bytes().split(b"\n")[:-1]
    try:
        return tuple(msgspec.json.decode(line, type=Fault) for line in whole)
    except msgspec.MsgspecError as error:
        raise RunError(f"{path}: {error}; run the replay again") from None
