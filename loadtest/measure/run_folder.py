"""The folder of one run: its file names and the two small documents about it (run.json, end.json)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from loadtest.errors import RunError
from loadtest.measure.machine import Machine
from loadtest.options import ReplayOptions

RUN = "run.json"
END = "end.json"
REFERENCES = "references.json"
FAULTS = "faults.jsonl"
SUMMARY = "summary.json"
REPORT = "index.html"
CLIP_STEM = "annotated"
LOCUST_LOG = "locust.log"
LOCUST_OUTPUT = "locust.out"
LOCUST_STATS = "locust"

# What a new run in the same folder replaces; anything else there is not ours. A run with fewer load generators than the
# one before would not write over all of its samples.
RESULTS = (END, FAULTS, SUMMARY, REPORT, "samples*.bin", f"{CLIP_STEM}.*")
OURS = (*RESULTS, RUN, REFERENCES, LOCUST_LOG, LOCUST_OUTPUT, f"{LOCUST_STATS}_*.csv")

Document = TypeVar("Document")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """How a run was set up; written before its first request.

    Attributes:
        url: the service.
        options: all settings of the replay.
        arrivals: number of frames that fall due after the warm-up; 0 for a closed loop, where nobody can know.
        frames: number of distinct frames.
        frame_width: in pixels.
        frame_height: in pixels.
        frame_bytes: mean size of a request body.
        clip_fps: natural speed of the frames.
        digest: of the frame set.
        started: UTC, ISO 8601.
        machine: the one that made the load.
        versions: of the software that made the load, by name.
        status: the service's own `/status` document, empty if it gave none.
        frames_lost: frames of the video that could not be read and were left out.
    """

    url: str
    options: ReplayOptions
    arrivals: int
    frames: int
    frame_width: int
    frame_height: int
    frame_bytes: float
    clip_fps: float
    digest: str
    started: str
    machine: Machine
    versions: dict[str, str]
    status: dict[str, Any]
    frames_lost: int = 0


@dataclass(frozen=True, slots=True)
class EndRecord:
    """How a run ended; absent if the process died.

    Attributes:
        complete: every arrival was fired or dropped, and every answer waited for.
        elapsed_s: length of the run.
        generator_cpu: share of one core that the load generator used, 0 to 1; the busiest one, if there are several.
        processes: that made the load.
        starved: frames that were not sent since the generator had no more connections to give.
    """

    complete: bool
    elapsed_s: float
    generator_cpu: float
    processes: int = 1
    starved: int = 0


def read_end(folder: Path) -> EndRecord | None:
    """How the run in the folder ended; none if a load generator died before it could say."""
    try:
        return read(folder / END, EndRecord)
    except RunError:
        return None


def samples_name(part: int) -> str:
    """Name of the sample file of one load generator, from 0."""
    return f"samples-{part}.bin"


def clear(folder: Path, patterns: Sequence[str] = OURS) -> None:
    """Makes the folder, and removes what an earlier run left in it.

    Args:
        folder: of the run.
        patterns: of the names to remove.

    Raises:
        RunError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for pattern in patterns:
            for path in folder.glob(pattern):
                path.unlink()
    except PermissionError:  # whose it is, is said where every command ends
        raise
    except OSError as error:
        raise RunError(f"{folder}: {error.strerror}; give another folder with --out") from None


def write(document: object, path: Path) -> None:
    """Writes a record as indented JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def read(path: Path, kind: type[Document]) -> Document:
    """Reads a record that `write` wrote.

    Raises:
        RunError: the file is missing or is no such record.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except PermissionError:  # whose it is, is said where every command ends
        raise
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}; give the folder of a replay") from None
    except msgspec.MsgspecError as error:
        raise RunError(f"{path}: {error}; run the replay again") from None
