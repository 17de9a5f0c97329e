"""A plan, and what its simulation said, for a terminal: [Plan], [Trial] -> lines. Pure."""

import math
from collections import Counter
from collections.abc import Iterable

from loadtest.capacity.row import IN_TIME_WANTED
from loadtest.plan.records import Basis, Host, Plan
from loadtest.plan.trial import Trial


def render(plan: Plan, known: Basis) -> str:
    """The answer first, then what it rests on, then the warnings."""
    lines = [headline(plan, known), *(f"{name:<12}{text}" for name, text in _lines(plan, known))]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in plan.warnings)])


def headline(plan: Plan, known: Basis) -> str:
    """What to buy, in a sentence."""
    demand = plan.demand
    hosts = _count(plan.hosts, "CPU-only host" if plan.source.cpu_only else "host")
    gpus = f" with {_count(plan.gpus, 'GPU')}" if plan.gpus else ""
    return (
        f"{hosts}{gpus} for {_count(demand.streams, 'stream')} at {demand.fps:g} frames/s "
        f"within {known.p95_ms:g} ms (p95), any one host may fail."
    )


def trial_text(trial: Trial, *, credible: bool) -> str:
    """What the simulation of the fullest cell said; `holds` is a word for a simulation that can be believed."""
    found, load = trial.outcome, trial.load
    verdict = ("holds" if credible else "holds there, see below") if trial.holds else "DOES NOT HOLD"
    return (
        f"simulated: {_count(load.instances, 'instance')} at {_fps(load.fps)} frames/s for {load.seconds:.0f} s, "
        f"a host fails after {load.failures[0].at_s:.0f} s: {verdict}\n"
        f"{'latency':<12}p50 {_ms(found.p50_ms)}, p95 {_ms(found.p95_ms)}, p99 {_ms(found.p99_ms)}, "
        f"{found.in_time:.1%} within {load.slo_ms:g} ms ({IN_TIME_WANTED:.0%} wanted)\n"
        f"{'frames':<12}{found.ok} of {found.offered} answered, {found.shed} refused, {found.lost} lost, "
        f"{found.retried} sent again\n"
        f"{'engines':<12}busy {found.utilisation:.0%} of the time, {found.batch:.1f} frames a batch"
    )


def _lines(plan: Plan, known: Basis) -> Iterable[tuple[str, str]]:
    host, source = plan.host, plan.source
    yield "typed" if source.typed else "measured", ("a CPU fleet: " if source.cpu_only else "") + source.text
    if source.cpu_only:
        yield (
            "GPU hosts",
            'not from this measurement: give a GPU\'s batch cost, --batch-ms "4 + 1.2n", or measure on one',
        )
    yield "a frame", f"{source.frame}, {known.per_frame.request_bytes / 1e3:.1f} kB; {_cpu(known)}"
    yield "a host", f"{_count(host.instances, 'instance')}, {_parts(host)}"
    if host.assumed:
        yield "assumed", ", ".join(host.assumed)
    yield "rate", _rate(plan, known)
    yield "instances", f"{plan.instances} carry it, {host.instances} on a host"
    yield "hosts", f"{plan.hosts_needed} carry it, {plan.hosts - plan.hosts_needed} spare (a host fails as a whole)"
    yield "balancers", f"{len(plan.cells)} nginx, not counted among the hosts: {_cells(plan)}"
    cores = "CPU unknown" if plan.cores is None else f"{_least(plan.cores, 1)} CPU cores busy"
    yield "network", f"{_least(plan.network_gbps, 3)} Gbit/s towards the hosts; {cores}"
    first = plan.uses[0]
    rest = ", ".join(f"{use.name} {use.share:.0%}" for use in plan.uses[1:])
    yield "saturates", f"{first.name} first, at {first.share:.0%} with one host down; then {rest}"
    if plan.cost is not None:
        yield "cost", f"{plan.cost:,.2f} in the prices' own unit, without balancers"


def _rate(plan: Plan, known: Basis) -> str:
    """All streams together, and what the instances that were looked at hold: the law at one of them is worked out."""
    size, target = plan.source.instances, plan.demand.target
    held = f"{_count(size, 'instance')} {'hold' if size != 1 else 'holds'} {known.scaling.fps(size):.1f}"
    return f"{_fps(plan.rate_fps)} frames/s; {held} within {known.p95_ms:g} ms, used to {target:.0%}"


def _cpu(known: Basis) -> str:
    cpu_ms = known.per_frame.cpu_ms
    return "its CPU time is not known" if cpu_ms is None else f"{cpu_ms:.1f} ms of CPU on its host"


def _parts(host: Host) -> str:
    cores = "cores unknown" if host.cores is None else f"{host.cores:g} core{'s' if host.cores != 1 else ''}"
    return f"{_count(host.gpus, 'GPU') if host.gpus else 'no GPU'}, {cores}, {host.nic_gbps:g} Gbit/s"


def _least(value: float, digits: int) -> str:
    """A little is not nothing."""
    smallest = 10**-digits
    return f"{value:.{digits}f}" if value >= smallest else f"under {smallest:g}"


def _fps(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.3g}"


def _ms(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f} ms"


def _cells(plan: Plan) -> str:
    kinds = Counter((cell.hosts_with_spare, round(cell.rate_fps, 4)) for cell in plan.cells)
    return ", ".join(
        f"{count} x {_count(hosts, 'host')} for {_fps(rate)} frames/s" for (hosts, rate), count in kinds.items()
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
