"""Makes a scenario's steps against one service and keeps them: changes of the load -> run -> [Step].

`highest`: searches the highest rate that a service holds: rate -> held or not. Pure, the trial is an argument.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loadtest.generate import steps
from loadtest.generate.steps import StepOptions
from loadtest.measure.step import Step
from loadtest.options import ReplayOptions
from loadtest.report.progress import Progress
from loadtest.report.table import milliseconds
from loadtest.scenario.figures import meets_slo
from loadtest.scenario.profile import ProfilePlan

GROWTH = 2.0
# Two rates are told apart by this factor at best; a finer answer would be noise.
RESOLUTION = 1.05
MOST_DOUBLINGS = 14
# Below it a step of some seconds has no frame to judge.
LEAST_FPS = 0.25


@dataclass(slots=True)
class Bench:
    """A service under test.

    Attributes:
        url: the service.
        load: what is sent unless a step says otherwise.
        plan: what the scenario does.
        folder: of the scenario; each step has a folder in it.
        say: tells a person about a step that was made.
        processes: that make the load.
        bind: `address:port` on which to wait for so many workers from other machines; empty starts them here.
        progress: bars.
        steps: made so far.
        remarks: what a person should know about the search, a line each.
    """

    url: str
    load: ReplayOptions
    plan: ProfilePlan
    folder: Path
    say: Callable[[str], None]
    processes: int = 1
    bind: str = ""
    progress: Progress = field(default_factory=Progress)
    steps: list[Step] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def references(self) -> Path:
        """File of the reference answers."""
        return self.folder / "references.json"

    def step(self, name: str, **changes: Any) -> Step:
        """Makes one step.

        Args:
            name: of the step.
            changes: of the load's options.

        Raises:
            LoadTestError: it could not be made.
        """
        options = replace(self.load, **changes)
        if not self.references.exists():
            steps.take_references(self.url, options, self.references)
        wanted = StepOptions(name, options, self.folder / name, self.references, self.processes, self.bind)
        made = steps.run_step(self.url, wanted, self.progress)
        self.steps.append(made)
        self.say(_line(made))
        return made

    def poisson(self, name: str, fps: float, seconds: float, **changes: Any) -> Step:
        """A step of independent clients at a rate."""
        in_flight = max(self.load.in_flight, steps.unanswered(fps, self.load.slo_ms))
        common = {"arrivals": "poisson", "cameras": 1, "keep": "all", "in_flight": in_flight}
        return self.step(name, **common | {"fps": fps, "seconds": seconds} | changes)

    def highest(self) -> float:
        """The highest rate that holds the SLO, in frames per second; 0 if none does."""
        missed: list[Step] = []

        def holds(fps: float) -> bool:
            made = self.poisson(f"search-{fps:.4g}", fps, self.plan.search_s + self.load.warmup_s)
            held = made.valid and meets_slo(made, self.plan.quantile)
            missed.extend(() if held else (made,))
            return held

        found = highest(self.plan.first_fps, holds)
        above = min(missed, key=lambda made: made.asked_fps, default=None)
        if above is None:
            self.remarks.append(f"no rate was too high, up to {found:.1f} frames/s: the service may hold more")
        elif not above.valid:
            rate = f"{above.asked_fps:.1f} frames/s"
            self.remarks.append(f"the search ended at {rate} for the generator's sake: the service may hold more")
        return found

    def capacity(self) -> float:
        """What the service holds: as it was told, or as measured now."""
        return self.plan.capacity_fps or self.highest()


def _line(made: Step) -> str:
    rate = f"{made.asked_fps:.1f} frames/s asked" if made.asked_fps else f"{made.streams} clients"
    text = f"{made.name}: {rate}, {made.ok_fps:.1f}/s as without load, p99 {milliseconds(made.latency.p99)} ms"
    return text if made.valid else f"{text}; not valid: {'; '.join(made.invalid)}"


def highest(first_fps: float, holds: Callable[[float], bool]) -> float:
    """Doubles the rate until it is too high (or halves it until it is not), then halves the gap, in ratios.

    Args:
        first_fps: where to begin.
        holds: makes a step at a rate and tells whether the service held it.

    Returns:
        The highest rate that was held; 0 if none from `LEAST_FPS` on was.
    """
    low_fps, high_fps = _bracket(first_fps, holds)
    while low_fps and high_fps / low_fps > RESOLUTION:
        middle_fps = (low_fps * high_fps) ** 0.5
        if holds(middle_fps):
            low_fps = middle_fps
        else:
            high_fps = middle_fps
    return low_fps


def _bracket(first_fps: float, holds: Callable[[float], bool]) -> tuple[float, float]:
    """A rate that was held and one that was not; the first is 0 if there is none, and both are equal if all held."""
    fps = first_fps
    if holds(fps):
        for _ in range(MOST_DOUBLINGS):
            if not holds(fps * GROWTH):
                return fps, fps * GROWTH
            fps *= GROWTH
        return fps, fps
    while fps / GROWTH >= LEAST_FPS:
        if holds(fps / GROWTH):
            return fps / GROWTH, fps
        fps /= GROWTH
    return 0.0, fps
