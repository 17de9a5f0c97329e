"""`python -m loadtest plan | simulate`: measurements on disk -> a plan on the terminal and in plan.json.

`plan_text`, `headline`: a plan, and what its simulation said, for a terminal: [Plan], [Trial] -> lines. Pure.
"""

import argparse
import math
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from loadtest.capacity import records
from loadtest.capacity.records import Capacity
from loadtest.capacity.row import IN_TIME_WANTED
from loadtest.errors import OptionError, RunError
from loadtest.measure import run_folder
from loadtest.plan import agreement, planner, typed
from loadtest.plan.basis import basis
from loadtest.plan.fleet_model import Model
from loadtest.plan.limits import demand_within
from loadtest.plan.planner import Wishes, plan
from loadtest.plan.records import TARGET, Basis, Demand, Host, Plan
from loadtest.plan.simulation import Trial, attempt
from loadtest.plan.typed import MAX_BATCH, Typed

DONE, FAILED = 0, 1
DEFAULT = Path("var/capacity") / records.FILE
KB = 1e3


@dataclass(frozen=True, slots=True)
class Given:
    """What a plan is made from.

    Attributes:
        measured: capacities, from files.
        typed: the cost of a batch, if one was given by hand.
    """

    measured: tuple[Capacity, ...]
    typed: Typed | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `plan` and `simulate` both take."""
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help=f"capacity.json files (default {DEFAULT})")
    parser.add_argument("--streams", type=int, required=True, help="cameras")
    parser.add_argument("--fps", type=float, required=True, help="frames per second of each")
    parser.add_argument("--p95-ms", type=float, help="95 %% of the frames within it (default: as it was measured)")
    parser.add_argument("--target", type=float, default=TARGET, help="part of its capacity used (default %(default)s)")
    parser.add_argument("--batch-ms", help='plan for GPUs whose batch of n frames takes so many ms, e.g. "4 + 1.2n"')
    parser.add_argument("--max-batch", type=int, help=f"frames of such a batch at most (default {MAX_BATCH})")
    parser.add_argument("--frame-kb", type=float, help="size of a picture (default: as it was measured)")
    parser.add_argument("--gpus-per-host", type=int, help="default: 1; a CPU fleet's plan has none")
    parser.add_argument(
        "--instances-per-host", type=int, help="default: one per GPU; on CPUs as many for a core as measured"
    )
    parser.add_argument(
        "--cores-per-host", type=float, help=f"default: {planner.CORES:g}; on CPUs as many as were measured"
    )
    parser.add_argument("--nic-gbps", type=float, help=f"network of a host (default {planner.NIC_GBPS:g})")
    parser.add_argument("--host-price", type=float, help="of a host, in any unit")
    parser.add_argument("--gpu-price", type=float, help="of a GPU, in the same unit")
    parser.add_argument("--out", type=Path, help="write the plan as JSON to this file too")


def run_plan(namespace: argparse.Namespace) -> int:
    """Prints a plan."""
    demand = _demand(namespace)
    _planned(_given(namespace), demand, namespace)
    return DONE


def run_simulate(namespace: argparse.Namespace) -> int:
    """Prints a plan and what its simulation says.

    It fails if the plan does not hold there, and if the simulation itself is too far from what was measured to be
    believed; a batch cost that was typed has nothing to be held against.
    """
    demand, given = _demand(namespace), _given(namespace)
    known, found, model = _planned(given, demand, namespace)
    largest = max(given.measured, key=lambda one: one.instances, default=None)
    if model is None and largest:
        model = agreement.model_of(largest)
    if model is None:  # either way there is one
        raise OptionError("nothing to simulate; give a capacity.json or --batch-ms")
    trial = attempt(found, known, model, seed=1)
    if given.typed or largest is None:
        print(trial_text(trial, credible=True))
        print("not held against a measurement: the cost of a batch was typed")
        return DONE if trial.holds else FAILED
    compared = agreement.compare(largest, model, seed=1)
    credible = agreement.credible(compared)
    print(trial_text(trial, credible=credible))
    print(agreement.text(compared))
    if not credible:
        print(
            "NOT CREDIBLE: the simulated fleet is not like the measured one; what it says of the plan counts for little"
        )
    return DONE if trial.holds and credible else FAILED


def _demand(namespace: argparse.Namespace) -> Demand:
    """What has to be answered; looked at before any file is."""
    for name in ("streams", "fps", "p95-ms", "target"):
        demand_within(name, getattr(namespace, name.replace("-", "_")))
    return Demand(namespace.streams, namespace.fps, namespace.p95_ms, namespace.target)


def _given(namespace: argparse.Namespace) -> Given:
    if namespace.batch_ms is None:
        if namespace.max_batch is not None:
            raise OptionError(f"--max-batch={namespace.max_batch}: no effect without --batch-ms")
        return Given(tuple(records.read(path) for path in namespace.files or [DEFAULT]), None)
    cost, files = typed.parse(namespace.batch_ms), namespace.files or [DEFAULT]
    demand_within("max-batch", namespace.max_batch)
    if len(files) > 1:
        raise OptionError("--batch-ms: takes the size of pictures from one measurement; give one file, or none")
    # Who has no accelerator may have measured nothing at all; the plan says what it assumes then.
    measured = tuple(records.read(path) for path in files if _is_there(path))
    return Given(measured, Typed(cost, namespace.max_batch or MAX_BATCH))


def _is_there(path: Path) -> bool:
    return os.path.exists(path / records.FILE if os.path.isdir(path) else path)


def _planned(given: Given, demand: Demand, namespace: argparse.Namespace) -> tuple[Basis, Plan, Model | None]:
    """The plan, printed and written; and the instance it rests on, if that was typed."""
    known, model = _basis(given, demand.p95_ms)
    known = _with_frame(known, namespace.frame_kb)
    wishes = Wishes(
        namespace.instances_per_host,
        namespace.gpus_per_host,
        namespace.cores_per_host,
        namespace.nic_gbps,
        namespace.host_price,
        namespace.gpu_price,
    )
    host = planner.choose_host(wishes, known)
    known = replace(known, warnings=(*planner.host_warnings(host, known), *known.warnings))
    found = plan(known, demand, host, planner.choose_prices(wishes))
    print(plan_text(found, known))
    _write(found, namespace.out)
    return known, found, model


def _basis(given: Given, p95_ms: float | None) -> tuple[Basis, Model | None]:
    if given.typed is None:
        return basis(given.measured, p95_ms), None
    measured = given.measured[0] if given.measured else None
    model = typed.model_of(given.typed, measured)
    return typed.basis(given.typed, model, measured, p95_ms), model


def _with_frame(known: Basis, frame_kb: float | None) -> Basis:
    demand_within("frame-kb", frame_kb)
    if frame_kb is None:
        return known
    note = f"--frame-kb={frame_kb:g}: changes the network's part alone; larger pictures cost more to decode, too"
    per_frame = replace(known.per_frame, request_bytes=frame_kb * KB)
    return replace(known, per_frame=per_frame, warnings=(*known.warnings, note))


def _write(found: Plan, path: Path | None) -> None:
    if path is None:
        return
    try:
        run_folder.write(found, path)
    except PermissionError:  # whose it is, is said where every command ends
        raise
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}; give another file with --out") from None


def plan_text(plan: Plan, known: Basis) -> str:
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
