"""Whether a fleet lost capacity against an earlier measurement: [Capacity] x 2 -> [Comparison]. Pure."""

from dataclasses import dataclass
from typing import Any

from loadtest.capacity.assemble import demand_same
from loadtest.capacity.records import Capacity
from loadtest.errors import OptionError

LOSS_ALLOWED = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two measurements held against each other.

    Attributes:
        loss: part of the capacity that was lost, negative for a gain.
        apart: the new interval lies wholly below the old one.
        text: both in a sentence.
    """

    loss: float
    apart: bool
    text: str

    @property
    def failed(self) -> bool:
        """Only a loss that is large and certain fails."""
        return self.apart and self.loss > LOSS_ALLOWED


def demand_comparable(slo_ms: float, status: dict[str, Any], instances: int, baseline: Capacity) -> None:
    """Makes sure that a difference to the baseline would mean something.

    Args:
        slo_ms: of the new measurement.
        status: of its service, the `/status` document.
        instances: of its fleet; 0 if that is not known yet.
        baseline: the earlier measurement.

    Raises:
        OptionError: they are not measured alike.
    """
    demand_same(slo_ms, status, baseline)
    if instances not in (0, baseline.instances):
        raise OptionError(
            f"baseline of {baseline.provenance.started}: {baseline.instances} instances, not {instances}; "
            f"compare fleets of one size"
        )
    if not baseline.slo.estimate:
        raise OptionError(f"baseline of {baseline.provenance.started}: it held no rate; take another one")


def compare(now: Capacity, baseline: Capacity) -> Comparison:
    """Compares capacities at the SLO.

    Raises:
        OptionError: as `demand_comparable`.
    """
    demand_comparable(now.slo_ms, now.provenance.status, now.instances, baseline)
    loss = 1 - now.slo.estimate / baseline.slo.estimate
    apart = now.slo.high < baseline.slo.low
    text = (
        f"{_interval(now)} now, {_interval(baseline)} in the baseline: "
        f"{abs(loss):.1%} {'less' if loss > 0 else 'more'}, intervals {'apart' if apart else 'not apart'}"
    )
    if now.provenance.machine != baseline.provenance.machine:
        text += "; made on another machine"
    if now.provenance.frame != baseline.provenance.frame:
        text += f"; the baseline's frames were {baseline.provenance.frame}"
    return Comparison(loss, apart, text)


def _interval(capacity: Capacity) -> str:
    slo = capacity.slo
    return f"{slo.estimate:.1f} frames/s ({slo.low:.1f} to {slo.high:.1f})"
