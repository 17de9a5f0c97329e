"""What was measured before and is used again: files -> [Known]."""

from dataclasses import dataclass

from loadtest.capacity import cpu, gate
from loadtest.capacity.assemble import demand_same
from loadtest.capacity.measure import Bench
from loadtest.capacity.records import Capacity, Timeline
from loadtest.target.target import Target


@dataclass(frozen=True, slots=True)
class Known:
    """What was measured before.

    Attributes:
        others: fleets of other sizes, for the scaling.
        timelines: what came of failures.
        baseline: what to compare with.
    """

    others: tuple[Capacity, ...]
    timelines: tuple[Timeline, ...]
    baseline: Capacity | None


def demand_usable(known: Known, bench: Bench) -> None:
    """Makes sure, before minutes are spent, that earlier measurements can be used with this service.

    Raises:
        TargetError: nothing answers.
        OptionError: one is of another model, engine, SLO or size of fleet.
    """
    with Target(bench.url, bench.base.wait_s) as target:
        target.check_ready()
        status, instances = target.status(), len(cpu.read(target.get)) if known.baseline else 0
    for other in known.others:
        demand_same(bench.base.slo_ms, status, other)
    if known.baseline:
        gate.demand_comparable(bench.base.slo_ms, status, instances, known.baseline)
