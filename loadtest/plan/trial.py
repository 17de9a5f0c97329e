"""Tries a plan in simulation, with a host that fails: [Plan] + [Model] -> [Trial]. Pure."""

from dataclasses import dataclass

from loadtest.capacity.row import IN_TIME_WANTED
from loadtest.errors import OptionError
from loadtest.plan.fleet_model import Model
from loadtest.plan.records import Basis, Plan
from loadtest.plan.simulation import HostFailure, Load, Outcome, simulate

# Long enough for queues to show, short enough to wait for: a few seconds of computing.
MOST_FRAMES = 300_000
LONGEST_S, SHORTEST_S = 60.0, 3.0
# Cameras so slow that a minute of them says nothing are simulated for longer.
LEAST_FRAMES = 300
# A second of more would take minutes, and no nginx passes as many.
MOST_FPS = 500_000


@dataclass(frozen=True, slots=True)
class Trial:
    """A simulated cell."""

    load: Load
    outcome: Outcome

    @property
    def holds(self) -> bool:
        """Whether it met the SLO through the failure and lost nothing."""
        return self.outcome.in_time >= IN_TIME_WANTED and not self.outcome.lost


def attempt(plan: Plan, known: Basis, model: Model, seed: int) -> Trial:
    """Simulates the fullest cell, spare host and all; after a third of the time one host fails for good.

    Raises:
        OptionError: it gets more frames than can be simulated.
    """
    cell = plan.cells[0]
    if cell.rate_fps > MOST_FPS:
        raise OptionError(
            f"{cell.rate_fps:,.0f} frames/s behind one balancer: a simulation takes up to {MOST_FPS:,}; "
            f"simulate a part of the streams, or give a smaller --nic-gbps"
        )
    usual_s = min(LONGEST_S, max(SHORTEST_S, MOST_FRAMES / cell.rate_fps))
    seconds = max(usual_s, LEAST_FRAMES / cell.rate_fps)
    load = Load(
        instances=cell.hosts_with_spare * plan.host.instances,
        instances_per_host=plan.host.instances,
        fps=cell.rate_fps,
        streams=max(1, round(cell.rate_fps / plan.demand.fps)),
        seconds=seconds,
        warm_s=seconds / 10,
        slo_ms=known.p95_ms,
        seed=seed,
        failures=(HostFailure(1, seconds / 3, seconds),),
    )
    return Trial(load, simulate(model, load))
