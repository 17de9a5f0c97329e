"""`python -m chaos.siege`: a mixed attack and kills at random on a fleet as `deploy up` makes it, beside four cameras.

Flow: rehearsal without cues -> load + attack + kills + watch -> [Siege] -> a section of
docs/reliability.md. Exit code 0 only if everything held that is expected.

`Siege`: what came of a siege, judged and written as a section of docs/reliability.md; nothing runs here.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("chaos.siege.__main__")


import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from chaos.faults.stage import wait
from chaos.load import Load, Sample, make_pictures
from chaos.machine import MIB, children_of, parent_of
from chaos.material import DEFAULT_MODEL, DEFAULT_VIDEO, PAGE, circumstances, read_frames
from chaos.observation import counted, p99
from chaos.rehearsal import ChaosError, Rehearsal, rehearsal
from chaos.report import SIEGE, with_siege
from chaos.siege.attack import CLIENTS, attacked
from chaos.siege.watch import Reading, exceeded, watched
from framefleet.repeat import repeated

P99_LIMIT_MS = 1000.0
# A killed nginx worker takes with it what it has in hand: of what was due so many s before and after, some may be lost.
WINDOW_S = 1.0
TARGETS = ("gunicorn worker", "gunicorn master", "nginx worker", "nginx master")
MAY_LOSE = frozenset({"nginx worker"})
ROWS = 15
CALM_S, AFTERWARDS_S = 10.0, 15.0
PAUSES_S = (10.0, 20.0)
STRONG_LIMIT_S = 60.0


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
        p99_ms = p99(self.right_ms)
        lost = f"{len(self.unexcused)} of the cameras' requests lost" if self.unexcused else ""
        slow = f"p99 {p99_ms:.0f} ms, over {P99_LIMIT_MS:.0f}" if p99_ms >= P99_LIMIT_MS or not self.right_ms else ""
        return tuple(filter(None, (lost, slow, *exceeded(self.readings), *self.problems)))

    @property
    def met(self) -> bool:
        """Whether all that was expected held."""
        return not self.broken


def besiege(fleet: Rehearsal, frames: Sequence[bytes], options: argparse.Namespace) -> Siege:
    """Attacks a fleet that runs, and kills parts of it, while cameras go on.

    Raises:
        OSError: it does not answer while it is idle.
    """
    kills: list[Kill] = []
    problems: list[str] = []
    load = Load(fleet.url, make_pictures(fleet.url, frames), options.cameras * options.fps)
    with load.running(), watched(fleet.var) as readings:
        time.sleep(CALM_S)
        began = time.monotonic()
        with attacked(fleet.port, options.seed, options.clients) as ended, _killing(fleet, options, kills, problems):
            time.sleep(options.minutes * 60)
        time.sleep(AFTERWARDS_S)
        samples = load.between(began, time.monotonic())
    problems += [f"`down` left {left}" for left in fleet.down()]
    return Siege(
        model=Path(fleet.model).name,
        instances=fleet.count,
        minutes=options.minutes,
        cameras=options.cameras,
        rate=load.rate,
        began=began,
        samples=samples,
        kills=kills,
        readings=readings,
        ended=ended,
        problems=problems,
    )


def _killing(
    fleet: Rehearsal, options: argparse.Namespace, kills: list[Kill], problems: list[str]
) -> AbstractContextManager[None]:
    order = random.Random(options.seed)
    targets = _targets(order)

    def kill_one() -> None:
        # Never before the last one is mended: the next might leave no instance.
        try:
            wait(f"full strength after {kills[-1:] or 'the start'}", fleet.ready, STRONG_LIMIT_S)
        except ChaosError as error:
            problems.append(str(error))
            return
        if (pid := _find(fleet, target := next(targets), order)) > 1:
            kills.append(Kill(time.monotonic(), target))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            print(f"{time.strftime('%H:%M:%S')}  kill -9: {target}", flush=True)

    return repeated(kill_one, lambda: order.uniform(*PAUSES_S))


def _targets(order: random.Random) -> Iterator[str]:
    """What is killed next, without end: each once before any comes again."""
    while True:
        yield from order.sample(TARGETS, len(TARGETS))


def _find(fleet: Rehearsal, target: str, order: random.Random) -> int:
    """Process id of what is to be killed; 0 if it does not show itself."""
    if target == "nginx master":
        return fleet.pid_of("nginx")
    if target == "nginx worker":
        return order.choice(children_of(fleet.pid_of("nginx")) or (0,))
    worker = fleet.worker(order.choice(fleet.instances))
    return parent_of(worker) if worker and target == "gunicorn master" else worker


def main(arguments: Sequence[str]) -> int:
    """Runs the siege; returns the process's exit code."""
    options = parse(arguments)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="siege-", ignore_cleanup_errors=True) as folder,
            rehearsal(Path(folder), options.model, options.instances, cued=False) as fleet,
        ):
            done = besiege(fleet, read_frames(options.video), options)
    except ChaosError as error:
        print(error, file=sys.stderr)
        return 1
    section = to_section(done, circumstances(options.seed))
    print(section)
    options.out.write_text(with_siege(options.out.read_text() if options.out.exists() else "", section))
    return 0 if done.met else 1


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m chaos.siege", description="A mixed attack, beside cameras.")
    add = parser.add_argument
    add("--model", default=str(DEFAULT_MODEL), help="absolute path or simulated:... (default %(default)s)")
    add("--video", type=Path, default=DEFAULT_VIDEO, help="default %(default)s")
    add("--instances", type=int, default=2, help="default %(default)s")
    add("--cameras", type=int, default=4, help="default %(default)s")
    add("--fps", type=float, default=5.0, help="of each camera (default %(default)s)")
    add("--clients", type=int, default=CLIENTS, help="that attack at once (default %(default)s)")
    add("--minutes", type=float, default=15.0, help="default %(default)s")
    add("--seed", type=int, default=1, help="of everything random (default %(default)s)")
    add("--out", type=Path, default=PAGE, help="the page that gets the section (default %(default)s)")
    return parser.parse_args(arguments)


def to_section(siege: Siege, when: str) -> str:
    """Writes the section.

    Args:
        siege: what came of it.
        when: see `material.circumstances`.
    """
    p99_ms, worst_ms = p99(siege.right_ms), max(siege.right_ms, default=0)
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
