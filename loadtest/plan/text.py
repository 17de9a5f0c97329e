"""A plan, and what its simulation said, for a terminal: [Plan], [Trial] -> lines. Pure."""

from collections import Counter
from collections.abc import Iterable

from loadtest.plan.records import Basis, Plan
from loadtest.plan.trial import Trial


def render(plan: Plan, known: Basis) -> str:
    """The answer first, then what it rests on, then the warnings."""
    lines = [headline(plan, known), *(f"{name:<12}{text}" for name, text in _lines(plan, known))]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in plan.warnings)])


def headline(plan: Plan, known: Basis) -> str:
    """What to buy, in a sentence."""
    demand = plan.demand
    gpus = f" with {_count(plan.gpus, 'GPU')}" if plan.gpus else ""
    return (
        f"{_count(plan.hosts, 'host')}{gpus} for {demand.streams} streams at {demand.fps:g} frames/s "
        f"within {known.p95_ms:g} ms (p95), any one host may fail."
    )


def trial_text(trial: Trial) -> str:
    """What the simulation of the fullest cell said."""
    found, load = trial.outcome, trial.load
    verdict = "holds" if trial.holds else "DOES NOT HOLD"
    return (
        f"simulated: {_count(load.instances, 'instance')} at {load.fps:.1f} frames/s for {load.seconds:.0f} s, "
        f"a host fails after {load.failures[0].at_s:.0f} s: {verdict}\n"
        f"{'latency':<12}p50 {found.p50_ms:.1f} ms, p95 {found.p95_ms:.1f} ms, p99 {found.p99_ms:.1f} ms, "
        f"{found.in_time:.1%} within {load.slo_ms:g} ms\n"
        f"{'frames':<12}{found.ok} of {found.offered} answered, {found.shed} refused, {found.lost} lost, "
        f"{found.retried} sent again\n"
        f"{'engines':<12}busy {found.utilisation:.0%} of the time, {found.batch:.1f} frames a batch"
    )


def _lines(plan: Plan, known: Basis) -> Iterable[tuple[str, str]]:
    law, target = known.scaling, plan.demand.target
    yield "rate", f"{plan.rate_fps:.1f} frames/s; one instance holds {law.fps(1):.1f}, used to {target:.0%}"
    yield "instances", f"{plan.instances} carry it, {plan.host.instances} on a host"
    yield "hosts", f"{plan.hosts_needed} carry it, {plan.hosts - plan.hosts_needed} spare (a host fails as a whole)"
    if len(plan.cells) > 1:
        yield "balancers", f"{len(plan.cells)}, for one is not enough: {_cells(plan)}"
    cores = "CPU unknown" if plan.cores is None else f"{plan.cores:.1f} CPU cores busy"
    yield "network", f"{plan.network_gbps:.3f} Gbit/s towards the hosts; {cores}"
    first = plan.uses[0]
    rest = ", ".join(f"{use.name} {use.share:.0%}" for use in plan.uses[1:])
    yield "saturates", f"{first.name} first, at {first.share:.0%} with one host down; then {rest}"
    if plan.cost is not None:
        yield "cost", f"{plan.cost:,.2f} in the prices' own unit"


def _cells(plan: Plan) -> str:
    kinds = Counter((cell.hosts_with_spare, round(cell.rate_fps, 1)) for cell in plan.cells)
    return ", ".join(
        f"{count} x {_count(hosts, 'host')} for {rate:g} frames/s" for (hosts, rate), count in kinds.items()
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
