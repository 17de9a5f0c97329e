"""From a demand to hosts: [Basis] + [Demand] + [Host] -> [Plan]. Pure.

A cell is a balancer with its hosts. It is filled up to what one balancer can carry: where adding instances still pays
(the USL), and what its network takes. Further cells carry the rest; each has a spare host. Cells are filled one after
the other rather than evenly, so that a higher rate never needs fewer hosts.

`Wishes`: of which kind the hosts of a plan are: what was asked for and what was measured -> [Host], [Prices]. Pure.

An option that cannot have an effect is refused: a plan that ignored it in silence would answer another question.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from loadtest.capacity.fits import Scaling
from loadtest.errors import OptionError
from loadtest.plan.limits import demand_within
from loadtest.plan.records import Basis, Cell, Demand, Host, PerFrame, Plan, Prices, Use

CORES, NIC_GBPS = 8.0, 1.0
OTHERWISE = 'give --batch-ms "4 + 1.2n" for a plan with GPUs, or a capacity.json that was measured on them'
BITS = 8
GIGA = 1e9
# A balancer's cell grows while each of its instances does at least half of what one alone does.
LEAST_EFFICIENCY = 0.5
MOST_INSTANCES = 1_000_000
# Beyond them nobody plans with one command, and the list of cells would not fit into memory.
MOST_CELLS, MOST_HOSTS = 1_000_000, 10_000_000
EXTRAPOLATED_BEYOND = 2
# Floats: 0.7 * 10 instances at 10 frames/s must hold 70 frames/s.
HAIR = 1e-9


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was asked for; none of what was not."""

    instances: int | None = None
    gpus: int | None = None
    cores: float | None = None
    nic_gbps: float | None = None
    host_price: float | None = None
    gpu_price: float | None = None


def plan(known: Basis, demand: Demand, host: Host, prices: Prices) -> Plan:
    """Sizes a fleet.

    Raises:
        OptionError: a value is out of range, or one frame alone is too much for a host.
    """
    check(demand, host, prices)
    cells = tuple(_cells(known, demand, host))
    hosts_needed = sum(cell.hosts for cell in cells)
    hosts = sum(cell.hosts_with_spare for cell in cells)
    if hosts > MOST_HOSTS:
        raise OptionError(_too_much(demand, f"{hosts:,} hosts"))
    cpu_ms = known.per_frame.cpu_ms
    cost = hosts * prices.host + hosts * host.gpus * prices.gpu
    return Plan(
        demand=demand,
        source=known.source,
        host=host,
        rate_fps=demand.rate_fps,
        cells=cells,
        instances=sum(cell.instances for cell in cells),
        hosts_needed=hosts_needed,
        hosts=hosts,
        gpus=hosts * host.gpus,
        network_gbps=gbps(demand.rate_fps, known.per_frame.request_bytes),
        cores=None if cpu_ms is None else demand.rate_fps * cpu_ms / 1e3,
        uses=tuple(sorted(_uses(known, cells[0], host), key=lambda use: -use.share)),
        cost=cost if prices.host or prices.gpu else None,
        warnings=(*known.warnings, *_extrapolations(known.scaling, cells[0])),
    )


def check(demand: Demand, host: Host, prices: Prices) -> None:
    """Makes sure that a demand, a host and its prices can be planned with.

    Raises:
        OptionError: a value is out of range.
    """
    given = {"streams": demand.streams, "fps": demand.fps, "p95-ms": demand.p95_ms, "target": demand.target}
    given |= {"instances-per-host": host.instances, "gpus-per-host": host.gpus}
    given |= {"cores-per-host": host.cores, "nic-gbps": host.nic_gbps}
    given |= {"host-price": prices.host, "gpu-price": prices.gpu}
    for name, value in given.items():
        demand_within(name, value)


def instances_for(law: Scaling, rate_fps: float, target: float) -> int:
    """The fewest instances behind one balancer that hold a rate at that part of their capacity.

    Raises:
        OptionError: one cell cannot hold it.
    """
    most = cell_size(law)
    if law.fps(most) * target < rate_fps * (1 - HAIR):
        raise OptionError(f"{rate_fps:g} frames/s: more than the {most} instances of one balancer hold")
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if law.fps(middle) * target >= rate_fps * (1 - HAIR):
            high = middle
        else:
            low = middle + 1
    return low


def cell_size(law: Scaling) -> int:
    """The most instances behind one balancer that still pay."""
    low, high = 1, MOST_INSTANCES
    while low < high:
        middle = (low + high + 1) // 2
        if law.fps(middle) >= LEAST_EFFICIENCY * middle * law.one_fps:
            low = middle
        else:
            high = middle - 1
    # Past its peak the law falls again.
    peak = math.sqrt(max(0.0, 1 - law.contention) / law.coherency) if law.coherency else math.inf
    return max(1, int(min(low, peak)))


def gbps(rate_fps: float, bytes_each: float) -> float:
    """Network for so many bodies per second, 10^9 bits/s."""
    return rate_fps * bytes_each * BITS / GIGA


def _cells(known: Basis, demand: Demand, host: Host) -> Iterable[Cell]:
    law, target = known.scaling, demand.target
    by_network = host.nic_gbps * target / gbps(1.0, _balancer_bytes(known.per_frame))
    full_fps = min(law.fps(cell_size(law)) * target, by_network)
    if demand.rate_fps > MOST_CELLS * full_fps:
        raise OptionError(_too_much(demand, f"over {MOST_CELLS:,} balancers"))
    full = int(demand.rate_fps / full_fps * (1 + HAIR))
    rest_fps = demand.rate_fps - full * full_fps
    if full:
        yield from [_cell(known, full_fps, demand, host)] * full
    # A rate may be so small that it is a hair's breadth itself; it needs a cell nevertheless.
    if rest_fps > full_fps * HAIR or not full:
        yield _cell(known, rest_fps, demand, host)


def _cell(known: Basis, rate_fps: float, demand: Demand, host: Host) -> Cell:
    instances = instances_for(known.scaling, rate_fps, demand.target)
    return Cell(rate_fps, instances, _hosts(known.per_frame, instances, rate_fps, demand, host))


def _hosts(per_frame: PerFrame, instances: int, rate_fps: float, demand: Demand, host: Host) -> int:
    cores = rate_fps * (per_frame.cpu_ms or 0.0) / 1e3
    wanted = (
        instances / host.instances,
        cores / (host.cores * demand.target) if host.cores else 0.0,
        gbps(rate_fps, per_frame.request_bytes) / (host.nic_gbps * demand.target),
    )
    return max(math.ceil(amount * (1 - HAIR)) for amount in wanted)


def _too_much(demand: Demand, what: str) -> str:
    return f"{demand.streams:,} streams at {demand.fps:g} frames/s: would need {what}; check the options"


def _balancer_bytes(per_frame: PerFrame) -> float:
    """What passes a balancer in each direction: requests on one side, answers on the other."""
    return per_frame.request_bytes + per_frame.response_bytes


def _uses(known: Basis, cell: Cell, host: Host) -> Iterable[Use]:
    per_frame, hosts = known.per_frame, cell.hosts
    fps = known.scaling.fps(min(hosts * host.instances, cell_size(known.scaling)))
    yield Use("instances", cell.rate_fps / fps)
    if per_frame.cpu_ms is not None and host.cores:
        yield Use("hosts' CPU", cell.rate_fps * per_frame.cpu_ms / 1e3 / (hosts * host.cores))
    yield Use("hosts' network", gbps(cell.rate_fps, per_frame.request_bytes) / (hosts * host.nic_gbps))
    yield Use("balancer network", gbps(cell.rate_fps, _balancer_bytes(per_frame)) / host.nic_gbps)


def _extrapolations(law: Scaling, cell: Cell) -> Iterable[str]:
    if not law.measured:
        yield "no fleet was measured: that every further instance adds as much as the first is assumed"
        return
    largest = max(point.instances for point in law.points)
    if law.measured == 1:
        yield f"only fleets of {largest} were measured: growth is assumed to be linear; measure another size too"
    if cell.instances > EXTRAPOLATED_BEYOND * largest:
        yield (
            f"{cell.instances} instances behind one balancer are {cell.instances / largest:.1f} times the {largest} "
            f"that were measured; beyond {EXTRAPOLATED_BEYOND} times a plan is a guess"
        )
    if law.faster_than_linear:
        yield "small fleets did less per instance than larger ones: a plan for as few may be too small"


def check_hosts(wishes: Wishes) -> None:
    """Makes sure that each is in its range.

    Raises:
        OptionError: one is not.
    """
    demand_within("instances-per-host", wishes.instances)
    demand_within("gpus-per-host", wishes.gpus)
    demand_within("cores-per-host", wishes.cores)
    demand_within("nic-gbps", wishes.nic_gbps)
    demand_within("host-price", wishes.host_price)
    demand_within("gpu-price", wishes.gpu_price)


def choose_host(wishes: Wishes, known: Basis) -> Host:
    """A host as asked for; what nobody asked for is as it was measured, or assumed and said so.

    Raises:
        OptionError: something was asked for that makes no difference.
    """
    check_hosts(wishes)
    source = known.source
    if source.cpu_only and wishes.gpus:
        raise OptionError(f"--gpus-per-host={wishes.gpus}: a CPU fleet was measured, its plan has none; {OTHERWISE}")
    gpus = int(not source.cpu_only) if wishes.gpus is None else wishes.gpus
    if not gpus and wishes.gpu_price is not None:
        why = (
            "a CPU fleet was measured, its plan has no GPUs" if source.cpu_only else "hosts without GPUs were asked for"
        )
        advice = OTHERWISE if source.cpu_only else "leave one of the two out"
        raise OptionError(f"--gpu-price={wishes.gpu_price:g}: {why}; {advice}")
    cores = _cores(wishes, known)
    instances = wishes.instances or (_cpu_instances(cores, known) if source.cpu_only else gpus or source.instances)
    nic_gbps = NIC_GBPS if wishes.nic_gbps is None else wishes.nic_gbps
    return Host(instances, gpus, cores, nic_gbps, _assumed(wishes, known, cores))


def choose_prices(wishes: Wishes) -> Prices:
    """What things cost."""
    return Prices(wishes.host_price or 0.0, wishes.gpu_price or 0.0)


def host_warnings(found: Host, known: Basis) -> tuple[str, ...]:
    """Where such hosts differ from what was measured."""
    source, per_gpu = known.source, found.instances / found.gpus if found.gpus else 0.0
    texts = []
    if not source.cpu_only and not found.gpus:
        texts.append("--gpus-per-host=0: the instances of this plan use GPUs; without them they will not do as much")
    if per_gpu > 1:
        texts.append(
            f"{found.instances} instances for {_gpus(found.gpus)}: each is taken to do what one did as measured"
        )
    if 0 < per_gpu < 1:
        texts.append(f"--instances-per-host={found.instances}: {_gpus(found.gpus - found.instances)} of a host idle")
    if source.cpu_only and source.cores is None:
        texts.append("how many cores the measured fleet had is not known: a host is taken to be like that one")
    if source.cpu_only and source.cores and found.cores:
        each, planned = source.cores / source.instances, found.cores / found.instances
        if not math.isclose(each, planned):
            texts.append(f"{planned:.2g} cores an instance, {each:.2g} were measured: it will not do the same")
        elif found.cores != source.cores:
            times = found.cores / source.cores
            texts.append(f"a host of {found.cores:g} cores is taken to hold {times:.3g} times the measured one")
    return tuple(texts)


def _cores(wishes: Wishes, known: Basis) -> float | None:
    if wishes.cores is not None:
        if known.per_frame.cpu_ms is None and not (known.source.cpu_only and known.source.cores):
            raise OptionError(f"--cores-per-host={wishes.cores:g}: no effect, what a frame costs in CPU is not known")
        return wishes.cores
    if not known.source.cpu_only:
        return None if known.per_frame.cpu_ms is None else CORES
    if known.source.cores is None:
        return None
    # As many cores for each instance as were measured.
    return known.source.cores * (wishes.instances or known.source.instances) / known.source.instances


def _cpu_instances(cores: float | None, known: Basis) -> int:
    source = known.source
    if cores is None or not source.cores:
        return source.instances
    return max(1, int(cores * source.instances / source.cores))


def _assumed(wishes: Wishes, known: Basis, cores: float | None) -> tuple[str, ...]:
    found = []
    if wishes.cores is None and cores and not known.source.cpu_only:
        found.append(f"{cores:g} cores a host (--cores-per-host)")
    if wishes.nic_gbps is None:
        found.append(f"{NIC_GBPS:g} Gbit/s a host (--nic-gbps)")
    return tuple(found)


def _gpus(number: int) -> str:
    return f"{number} GPU{'s' if number != 1 else ''}"
