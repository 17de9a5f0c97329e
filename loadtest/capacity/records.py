"""What a capacity measurement found, as capacity.json holds it: sweep -> [Capacity] -> page, plan, gate.

`None` stands for what could not be measured, for JSON has no NaN.

`made_here`: whether a fleet was measured from its own machine: an address -> yes or no. Pure.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from framefleet.text_file import NotText, read_text
from loadtest.capacity.fits import BatchFit, Interval, Scaling
from loadtest.capacity.row import Row
from loadtest.errors import RunError
from loadtest.measure.machine import Machine

HERE = ("localhost", "127.0.0.1", "::1")
FORMAT = 1
FILE = "capacity.json"
PAGE = "index.html"
# No figure of a real fleet is beyond them.
LEAST, MOST = 1e-9, 1e12


class _Format(msgspec.Struct):
    format: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happened each second of a run that was not meant to be calm.

    Attributes:
        title: what was done, in a few words.
        text: what came of it, in a sentence.
        offered: frames that fell due in each second.
        in_time: of those the ones answered right within the SLO.
        marks: second and text of what was done when.
    """

    title: str
    text: str
    offered: tuple[int, ...]
    in_time: tuple[int, ...]
    marks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the figures come from.

    Attributes:
        url: the service.
        route: path that was asked.
        started: UTC, ISO 8601.
        revision: of the source tree, empty if unknown.
        video: file whose frames were sent.
        frame: size and kind of a body, in words.
        request_bytes: mean size of a body.
        response_bytes: mean size of an answer.
        seed: of the first schedule.
        machine: the one that made the load.
        versions: of the software that made the load.
        status: the service's own `/status` document, empty if it gave none.
        right: how near to its reference an answer had to be, in words; empty if unknown.
        detecting: part of the frames in which the idle service found anything, 0 to 1; none if unknown.
    """

    url: str
    route: str
    started: str
    revision: str
    video: str
    frame: str
    request_bytes: float
    response_bytes: float
    seed: int
    machine: Machine
    versions: dict[str, str]
    status: dict[str, Any]
    right: str = ""
    detecting: float | None = None


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a fleet holds.

    Attributes:
        format: version of this file's layout.
        slo_ms: limit from the scheduled moment to the whole answer.
        in_time_wanted: part of all frames that must be right and within it.
        instances: how many answered.
        slo: highest rate that meets the SLO.
        bounded: a higher rate was measured that did not meet it; else `slo` is only a lower bound.
        verified_fps: rate that met the SLO in every repetition; none if no rate did.
        repetitions: how often it was repeated.
        peak_fps: most right answers per second of any step.
        knee_fps: rate beyond which latency grows faster than throughput.
        cpu_ms: CPU time of the instances per frame, if they tell.
        rows: every step, in the order of their making.
        batch: time in the engine by batch size; none if all batches had one size or the service does not tell.
        scaling: how capacity grows with instances.
        timelines: overload, failures.
        provenance: where all this comes from.
    """

    format: int
    slo_ms: float
    in_time_wanted: float
    instances: int
    slo: Interval
    bounded: bool
    verified_fps: float | None
    repetitions: int
    peak_fps: float
    knee_fps: float
    cpu_ms: float | None
    rows: tuple[Row, ...]
    batch: BatchFit | None
    scaling: Scaling
    timelines: tuple[Timeline, ...]
    provenance: Provenance

    @property
    def doubts(self) -> tuple[str, ...]:
        """Every reason to doubt a step, said once."""
        return tuple(dict.fromkeys(doubt for row in self.rows for doubt in row.doubts))


def read(path: Path) -> Capacity:
    """Reads a capacity.json, or the one in a folder.

    Raises:
        RunError: it is missing, damaged or of another version.
    """
    try:
        path = path / FILE if path.is_dir() else path
        if path.exists() and not path.is_file():
            raise RunError(f"{path}: no file; give a capacity.json")
        text = read_text(path)
        _demand_format(text, path)
        found = msgspec.json.decode(text, type=Capacity)
    except PermissionError:  # whose it is, is said where every command ends
        raise
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}; make one with `make capacity`") from None
    except (NotText, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RunError(f"{path}: no capacity.json or a damaged one: {error}; make it again: `make capacity`") from None
    if fault := _fault(found):
        raise RunError(f"{path}: {fault}; make it again with `make capacity`")
    return found


def _demand_format(text: str, path: Path) -> None:
    number = msgspec.json.decode(text, type=_Format).format
    if number != FORMAT:
        raise RunError(f"{path}: format {number}, this version reads {FORMAT}; make it again with `make capacity`")


def _fault(found: Capacity) -> str:
    """What in a file that reads well makes no sense, so that nothing can be worked out from it; empty if nothing."""
    for name, value in _above_zero(found):
        if not LEAST < value < MOST:
            return f"{name}: {value:g} makes no sense"
    for name, value in _not_negative(found):
        if not 0 <= value < MOST:
            return f"{name}: {value:g} makes no sense"
    return ""


def _above_zero(found: Capacity) -> Iterable[tuple[str, float]]:
    source, slo = found.provenance, found.slo
    yield from (("instances", found.instances), ("slo_ms", found.slo_ms), ("rows", len(found.rows)))
    yield from (("slo.low", slo.low), ("slo.estimate", slo.estimate), ("slo.high", slo.high))
    yield from (("request_bytes", source.request_bytes), ("machine.cores", source.machine.cores))
    if found.batch:
        yield "batch", found.batch.a_ms + found.batch.b_ms
    for number, row in enumerate(found.rows):
        yield f"rows[{number}].asked_fps", row.asked_fps
        yield f"rows[{number}].counts.offered", row.counts.offered
    for number, point in enumerate(found.scaling.points):
        yield f"scaling.points[{number}].instances", point.instances
        yield f"scaling.points[{number}].fps", point.fps


def _not_negative(found: Capacity) -> Iterable[tuple[str, float]]:
    yield from (("cpu_ms", found.cpu_ms or 0.0), ("response_bytes", found.provenance.response_bytes))
    if found.batch:
        yield from (("batch.a_ms", found.batch.a_ms), ("batch.b_ms", found.batch.b_ms))
        yield "batch.error_ms", found.batch.error_ms
    for number, row in enumerate(found.rows):
        yield from ((f"rows[{number}].stages.{name}", ms) for name, ms in row.stages.items())
        if row.times:
            yield from ((f"rows[{number}].times.{name}", ms) for name, ms in asdict(row.times).items())


def made_here(url: str) -> bool:
    """Whether the machine that answered made the load as well."""
    try:
        return urlsplit(url).hostname in HERE
    except ValueError:  # no address at all, so not this machine's either
        return False
