"""Raw samples: verdicts -> [Sample...] -> records of 54 bytes -> table -> summary. Pure."""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtest.target.verdict import Verdict

NAN = float("nan")

SampleTable = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Sample:
    """What became of one arrival.

    Attributes:
        camera: number of the camera, from 0.
        frame: index into the frame set.
        scheduled_s: moment it was due, in seconds from the start of the run.
        sent_s: moment it was sent, same clock; NaN if it never was.
        done_s: moment the whole answer was there, or the failure; NaN if it was never sent.
        status: HTTP status, 0 without an answer.
        verdict: how it is counted.
        instance: who answered (`X-Instance`), empty if unknown.
        decode_ms: stage time from `Server-Timing`, NaN if not given; so are the next three.
        queue_ms: waiting for the engine.
        infer_ms: the engine.
        post_ms: from candidates to the answer.
        batch: frames that the engine took together with it, 0 if not given.
        response_bytes: length of the answer's body.
        held_s: how long its camera kept it after it fell due, for earlier frames were unanswered.
    """

    camera: int
    frame: int
    scheduled_s: float
    sent_s: float
    done_s: float
    status: int
    verdict: Verdict
    instance: str = ""
    decode_ms: float = NAN
    queue_ms: float = NAN
    infer_ms: float = NAN
    post_ms: float = NAN
    batch: int = 0
    response_bytes: int = 0
    held_s: float = 0.0


# In memory: what everything else works with.
DTYPE = np.dtype(
    [
        ("camera", np.int32),
        ("frame", np.int32),
        ("scheduled_s", np.float64),
        ("sent_s", np.float64),
        ("done_s", np.float64),
        ("status", np.int16),
        ("verdict", "U8"),
        ("instance", "U48"),
        ("decode_ms", np.float32),
        ("queue_ms", np.float32),
        ("infer_ms", np.float32),
        ("post_ms", np.float32),
        ("batch", np.int32),
        ("response_bytes", np.int64),
        ("held_s", np.float64),
    ]
)
COLUMNS = DTYPE.names or ()

# On disk, little-endian and without gaps. `sent` and `done` are seconds since `scheduled`: a float32 holds a minute to
# 4 microseconds. A record whose verdict is NAME gives the next number to an instance's name.
_RECORD = struct.Struct("<BBhiidfffffffHI")
_NAME_RECORD = struct.Struct("<BBh50s")
STORED = np.dtype(
    [
        ("verdict", "u1"),
        ("instance", "u1"),
        ("status", "<i2"),
        ("camera", "<i4"),
        ("frame", "<i4"),
        ("scheduled_s", "<f8"),
        ("sent", "<f4"),
        ("done", "<f4"),
        ("held_s", "<f4"),
        ("decode_ms", "<f4"),
        ("queue_ms", "<f4"),
        ("infer_ms", "<f4"),
        ("post_ms", "<f4"),
        ("batch", "<u2"),
        ("response_bytes", "<u4"),
    ]
)
HEADER = b"framefleet samples 1".ljust(_RECORD.size, b"\n")
NAME = 255
MOST_NAMES = 254
MOST_BYTES = 2**32 - 1
_VERDICTS = tuple(Verdict)


class Encoder:
    """Turns the samples of one file into records."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {"": 0}

    def encode(self, sample: Sample) -> bytes:
        """The sample's record, after one with its instance's name where that is new."""
        name = _clean(sample.instance)
        introduction = b""
        if name not in self._names and len(self._names) <= MOST_NAMES:
            self._names[name] = len(self._names)
            introduction = _NAME_RECORD.pack(NAME, self._names[name], 0, name.encode("ascii"))
        return introduction + _RECORD.pack(
            _VERDICTS.index(sample.verdict),
            # Beyond so many, and no fleet has them, an instance is unknown.
            self._names.get(name, 0),
            sample.status,
            sample.camera,
            sample.frame,
            sample.scheduled_s,
            sample.sent_s - sample.scheduled_s,
            sample.done_s - sample.scheduled_s,
            sample.held_s,
            sample.decode_ms,
            sample.queue_ms,
            sample.infer_ms,
            sample.post_ms,
            sample.batch,
            min(sample.response_bytes, MOST_BYTES),
        )


def merge(files: Iterable[NDArray[np.void]]) -> SampleTable:
    """The samples of a run's files, in scheduled order.

    A day of many cameras leaves tens of millions of them, so they are put in their places one column at a time, and the
    names take no more room than the longest one needs.

    Args:
        files: records [records] of `STORED` of each file, without its header; at least one, none is kept.

    Returns:
        Structured array [samples] with the columns of `DTYPE`.

    Raises:
        ValueError: a file is damaged.
    """
    names, kept = zip(*((_names(records), records[records["verdict"] != NAME]) for records in files), strict=True)
    due_s = [records["scheduled_s"] for records in kept]
    order = np.argsort(np.concatenate(due_s), kind="stable")
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    table = np.empty(len(order), dtype=_narrow(max(int(np.max(np.strings.str_len(known))) for known in names)))
    begin = 0
    for records, known in zip(kept, names, strict=True):
        _put(records, known, table, places[begin : begin + len(records)])
        begin += len(records)
    return table


def count_verdicts(records: bytes) -> dict[str, int]:
    """How many samples of each verdict there are in whole records; quicker than `decode`."""
    numbers = np.bincount(np.frombuffer(records, dtype=STORED)["verdict"], minlength=len(_VERDICTS))
    return {verdict.value: int(numbers[code]) for code, verdict in enumerate(_VERDICTS)}


def whole_records(size: int) -> int:
    """Bytes of the whole records among so many."""
    return size // _RECORD.size * _RECORD.size


def _clean(name: str) -> str:
    """A header is foreign text: only what a name is made of is kept of it."""
    return re.sub(r"[^\w.:@-]", "_", name, flags=re.ASCII)[:48]


def _names(records: NDArray[np.void]) -> NDArray[Any]:
    """The names of instances by their number."""
    introduces = records["verdict"] == NAME
    if np.any(records["verdict"][~introduces] >= len(_VERDICTS)):
        raise ValueError("it holds an unknown verdict")
    names = np.full(MOST_NAMES + 2, "", dtype="U48")
    for record in records[introduces]:
        _, number, _, name = _NAME_RECORD.unpack(record.tobytes())
        names[number] = name.rstrip(b"\0").decode("ascii", "replace")
    return names


def _narrow(letters: int) -> np.dtype[np.void]:
    """`DTYPE` with so much room for names."""
    return np.dtype([(name, f"U{max(1, letters)}" if name == "instance" else DTYPE[name]) for name in COLUMNS])


def _put(records: NDArray[np.void], names: NDArray[Any], table: SampleTable, places: NDArray[np.intp]) -> None:
    for column in set(COLUMNS) & set(STORED.names or ()):
        if column not in ("verdict", "instance"):
            table[column][places] = records[column]
    table["sent_s"][places] = records["scheduled_s"] + records["sent"]
    table["done_s"][places] = records["scheduled_s"] + records["done"]
    table["verdict"][places] = np.array([verdict.value for verdict in _VERDICTS])[records["verdict"]]
    table["instance"][places] = names.astype(table.dtype["instance"])[records["instance"]]
