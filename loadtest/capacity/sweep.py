"""Which rates are measured, and in what order: measure(Ask) -> [Row...]. Pure but for the measuring, which is given.

```
grow:    start, then three times as much each time, until the SLO is missed twice
narrow:  the middle of what held and what did not, until they are close
verify:  what held, several times; a miss lowers it and starts again
fill:    the rest of the curve, below
overload: half as much again as was held, then half of it, in one run
```
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from loadtest.capacity.row import Row
from loadtest.errors import TargetError
from loadtest.frames.pattern import Phase

GROWTH = 3
MOST_GROWTHS = 10
MOST_HALVINGS = 4
MOST_TRIES = 3
MISSES = 2
LOWERED = 0.95
MOST_LOWERINGS = 3
# Parts of the held rate that the curve shows besides.
FILL = (0.3, 0.5, 0.7, 0.85)
# Parts of the held rate too, each for as long as the other.
OVERLOAD, RECOVERY = 1.5, 0.5


@dataclass(frozen=True, slots=True)
class Ask:
    """A step to be measured.

    Attributes:
        kind: what it is for: sweep, verify or overload.
        fps: rate, frames/s.
        seed: of its schedule.
        phases: parts with rates of their own; none for a steady step.
    """

    kind: str
    fps: float
    seed: int
    phases: tuple[Phase, ...] = ()


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """How thorough a sweep is.

    Attributes:
        start_fps: first rate, frames/s.
        most_fps: highest rate to try.
        close: what held and what did not are close when their quotient is below this.
        repetitions: how often the found rate is verified.
        seed: of the first schedule; each step has the next one.
        overload_s: length of the overload, and of the calm after it.
    """

    start_fps: float = 4.0
    most_fps: float = 20_000.0
    close: float = 1.04
    repetitions: int = 5
    seed: int = 1
    overload_s: float = 12.0


@dataclass(slots=True)
class Sweep:
    """A sweep that is under way.

    Attributes:
        measure: makes one step.
        options: how thorough it is.
        rows: what was measured, in order.
        verified_fps: rate that met the SLO in every repetition, if one did.
    """

    measure: Callable[[Ask], Row]
    options: SweepOptions
    rows: list[Row] = field(default_factory=list)
    verified_fps: float | None = None

    def run(self) -> None:
        """Measures all of it.

        Raises:
            TargetError: not even a small rate meets the SLO.
        """
        held, missed = self._grow()
        if missed is not None:
            held = self._narrow(held, missed)
        held = self._verify(held)
        self._fill(held)
        seconds = self.options.overload_s
        self._measured("overload", held, (Phase(OVERLOAD, seconds), Phase(RECOVERY, seconds)))

    def _grow(self) -> tuple[float, float | None]:
        fps = self._holding_start()
        for _ in range(MOST_GROWTHS):
            higher = min(fps * GROWTH, self.options.most_fps)
            if higher <= fps:
                break
            if not self._holds(higher):
                return fps, higher
            fps = higher
        return fps, None

    def _holding_start(self) -> float:
        fps = self.options.start_fps
        for _ in range(MOST_HALVINGS):
            if self._holds(fps):
                return fps
            fps /= 2
        part = self.rows[-1].in_time
        raise TargetError(
            f"even at {fps * 2:g} frames/s only {part:.0%} of the frames were answered in time and as without load; "
            f"give a larger --slo-ms, or look at the instances with `make status`"
        )

    def _narrow(self, held: float, missed: float) -> float:
        while missed / held > self.options.close:
            middle = (held * missed) ** 0.5
            if self._holds(middle):
                held = middle
            else:
                missed = middle
        return held

    def _verify(self, fps: float) -> float:
        for _ in range(MOST_LOWERINGS):
            if all(self._holds_again(fps) for _ in range(self.options.repetitions)):
                self.verified_fps = fps
                return fps
            fps *= LOWERED
        return fps

    def _fill(self, held: float) -> None:
        for part in FILL:
            fps = held * part
            if all(abs(row.asked_fps / fps - 1) > 1 - LOWERED for row in self.rows):
                self._measured("sweep", fps)

    def _holds(self, fps: float) -> bool:
        """Whether a rate holds. Something else on the machine may make it miss once: only a second miss counts."""
        misses = 0
        for _ in range(MOST_TRIES):
            row = self._measured("sweep", fps)
            if row.holds:
                return True
            misses += row.trusted
            if misses == MISSES:
                break
        return False

    def _holds_again(self, fps: float) -> bool:
        """Whether a rate holds once more, without a second chance unless it may be the generator's fault."""
        for _ in range(MOST_TRIES):
            row = self._measured("verify", fps)
            if row.trusted:
                return row.holds
        return False

    def _measured(self, kind: str, fps: float, phases: tuple[Phase, ...] = ()) -> Row:
        row = self.measure(Ask(kind, fps, self.options.seed + len(self.rows), phases))
        self.rows.append(row)
        return row
