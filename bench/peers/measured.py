"""What was measured, by server and work: the records that the table, the targets and the plot are made from."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a server under a closed loop.

    `cpu_ms` of the whole server a request, `rate` answers a second, `p50_ms`, `p99_ms`; `generator_ms` CPU of the
    generator a request; `lost` requests.
    """

    cpu_ms: float
    rate: float
    p50_ms: float
    p99_ms: float
    generator_ms: float
    lost: int


@dataclass(frozen=True, slots=True)
class Poisson:
    """One turn at random moments, `rate` a second: `p50_ms` and `p99_ms` from the due moment, `lost` requests."""

    rate: float
    p50_ms: float
    p99_ms: float
    lost: int


@dataclass(slots=True)
class Life:
    """A server beside its requests.

    `start_s` to the first answer; `idle_cores` it takes while nobody asks; `loaded_mb` after requests of mixed sizes
    (the default model: of one), `mixed_mb` after many times more; `killed`: its busiest process was, with kill -9;
    `strong_s` from then until it is as before, None if that never came; `kill_lost` requests then.
    """

    start_s: float = 0.0
    idle_cores: float = 0.0
    loaded_mb: float = 0.0
    mixed_mb: float = 0.0
    killed: bool = False
    strong_s: float | None = None
    kill_lost: int = 0


@dataclass(slots=True)
class Results:
    """A whole run: `turns[work][server]`, `poisson[server]`, `lives[server]`, `bare_ms[work]`, and the model's rows."""

    turns: dict[str, dict[str, list[Turn]]] = field(default_factory=dict)
    poisson: dict[str, list[Poisson]] = field(default_factory=dict)
    lives: dict[str, Life] = field(default_factory=dict)
    bare_ms: dict[str, list[float]] = field(default_factory=dict)
    model_bare_rate: list[float] = field(default_factory=list)

    def cpu_ms(self, work: str, server: str) -> float:
        """The median over the rounds."""
        return median(turn.cpu_ms for turn in self.turns[work][server])

    def rate(self, work: str, server: str) -> float:
        """Likewise."""
        return median(turn.rate for turn in self.turns[work][server])

    def tail(self, work: str, server: str) -> float:
        """p99 over p50, the median over the rounds."""
        return median(turn.p99_ms / turn.p50_ms for turn in self.turns[work][server])

    def bare(self, work: str) -> float:
        """CPU ms of the bare work, likewise."""
        return median(self.bare_ms[work])

    def write(self, path: Path) -> None:
        """As JSON, for whoever wants other figures."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")
