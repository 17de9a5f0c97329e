"""What came of a siege, judged and written as a section of docs/reliability.md; nothing runs here."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from chaos.load import Sample
from chaos.machine import MIB
from chaos.observation import counted, percentile
from chaos.report import SIEGE
from chaos.siege.watch import Reading, exceeded

P99_LIMIT_MS = 1000.0
# A killed nginx worker takes with it what it has in hand: of what was due so many s before and after, some may be lost.
WINDOW_S = 1.0
TARGETS = ("gunicorn worker", "gunicorn master", "nginx worker", "nginx master")
MAY_LOSE = frozenset({"nginx worker"})
ROWS = 15


@dataclass(frozen=True, slots=True)
class Kill:
    """One `kill -9`: when, in s on the monotonic clock, and what it hit."""

    at_s: float
    target: str


@dataclass(frozen=True, slots=True)
class Siege:
    """What came of it.

    Attributes:
        model: its file's name.
        instances: how many.
        minutes: how long.
        cameras: how many.
        rate: frames per second of all of them.
        began: when the attack began; s, monotonic.
        samples: the cameras' requests from then on.
        kills: in order.
        readings: of memory and disk, the first before the attack and the last after it.
        ended: how the hostile requests ended, as counts.
        problems: what else did not hold.
    """

    model: str
    instances: int
    minutes: float
    cameras: int
    rate: float
    began: float
    samples: Sequence[Sample]
    kills: Sequence[Kill]
    readings: Sequence[Reading]
    ended: Mapping[str, int]
    problems: Sequence[str]

    @property
    def lost(self) -> tuple[Sample, ...]:
        """The cameras' requests without a right answer."""
        return tuple(sample for sample in self.samples if sample.outcome != "right")

    @property
    def unexcused(self) -> tuple[Sample, ...]:
        """Those of them that no window explains; a wrong answer never is."""
        windows = [kill.at_s for kill in self.kills if kill.target in MAY_LOSE]
        return tuple(
            sample
            for sample in self.lost
            if sample.outcome == "wrong" or all(abs(sample.due - at_s) > WINDOW_S for at_s in windows)
        )

    @property
    def right_ms(self) -> list[float]:
        """How long each right answer took, in ms."""
        return [sample.ms for sample in self.samples if sample.outcome == "right"]

    @property
    def broken(self) -> tuple[str, ...]:
        """What did not hold, in words; empty if all did."""
        p99_ms = percentile(self.right_ms, 99)
        lost = f"{len(self.unexcused)} of the cameras' requests lost" if self.unexcused else ""
        slow = f"p99 {p99_ms:.0f} ms, over {P99_LIMIT_MS:.0f}" if p99_ms >= P99_LIMIT_MS or not self.right_ms else ""
        return tuple(filter(None, (lost, slow, *exceeded(self.readings), *self.problems)))

    @property
    def met(self) -> bool:
        """Whether all that was expected held."""
        return not self.broken


def to_section(siege: Siege, when: str) -> str:
    """Writes the section.

    Args:
        siege: what came of it.
        when: see `material.circumstances`.
    """
    p99_ms, worst_ms = percentile(siege.right_ms, 99), max(siege.right_ms, default=0)
    kills = counted(Counter(kill.target for kill in siege.kills))
    lost = counted(Counter(sample.detail for sample in siege.lost))
    held = (
        f"**Not everything held:** {'; '.join(siege.broken)}." if siege.broken else "Everything held that is expected."
    )
    return f"""{SIEGE}
Written by `make siege`. For {siege.minutes:g} minutes clients of another address send pictures of 40 megapixels,
forms of 16 such files, slow bodies, raw 1080p frames and packed requests, and hang up on some, while processes are
killed one at a time. {siege.cameras} cameras go on on `{siege.model}`, {siege.instances} instances at defaults. A
killed nginx worker may take with it what it has in hand; nothing else may be lost.

{when} {held}

- The cameras sent {len(siege.samples)} frames and lost {len(siege.lost)}{f" ({lost})" if lost else ""},
  {len(siege.unexcused)} of them not within {WINDOW_S:g} s of an nginx worker's death.
- Their p99 was {p99_ms:.0f} ms, the longest {worst_ms:.0f} ms.
- `kill -9`: {kills or "nothing"}.
- How the hostile requests ended: {counted(siege.ended) or "none was sent"}.

{_table(siege)}"""


def _table(siege: Siege) -> str:
    """Memory and disk over time, at most `ROWS` spans with the most of each."""
    names = sorted(set(chain.from_iterable(reading.peaks for reading in siege.readings)))
    head = ("s", *(f"{name} MiB (peak)" for name in names), "disk MiB", "unlinked MiB", "cameras' worst ms", "lost")
    lines = [head, ["---"] * len(head)]
    size = -(-len(siege.readings) // ROWS) or 1
    for start in range(0, len(siege.readings), size):
        lines.append(_row(siege, siege.readings[start : start + size], siege.readings[start + size :][:1], names))
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def _row(siege: Siege, span: Sequence[Reading], after: Sequence[Reading], names: Sequence[str]) -> Sequence[str]:
    begin, end = span[0].at_s, after[0].at_s if after else float("inf")
    due = [sample for sample in siege.samples if begin <= sample.due < end]
    resident = [max(reading.resident.get(name, 0) for reading in span) for name in names]
    peaks = [max(reading.peaks.get(name, 0) for reading in span) for name in names]
    return (
        f"{begin - siege.began:.0f}",
        *(f"{now / MIB:.0f} ({peak / MIB:.0f})" for now, peak in zip(resident, peaks, strict=True)),
        f"{max(reading.disk_bytes for reading in span) / MIB:.0f}",
        f"{max(reading.unlinked_bytes for reading in span) / MIB:.0f}",
        f"{max((sample.ms for sample in due if sample.outcome == 'right'), default=0):.0f}",
        str(sum(sample.outcome != "right" for sample in due)),
    )
