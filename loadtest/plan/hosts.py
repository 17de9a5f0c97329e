"""Of which kind the hosts of a plan are: what was asked for and what was measured -> [Host], [Prices]. Pure.

An option that cannot have an effect is refused: a plan that ignored it in silence would answer another question.
"""

import math
from dataclasses import dataclass

from loadtest.errors import OptionError
from loadtest.plan.limits import demand_within
from loadtest.plan.records import Basis, Host, Prices

CORES, NIC_GBPS = 8.0, 1.0
OTHERWISE = 'give --batch-ms "4 + 1.2n" for a plan with GPUs, or a capacity.json that was measured on them'


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was asked for; none of what was not."""

    instances: int | None = None
    gpus: int | None = None
    cores: float | None = None
    nic_gbps: float | None = None
    host_price: float | None = None
    gpu_price: float | None = None


def check(wishes: Wishes) -> None:
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


def host(wishes: Wishes, known: Basis) -> Host:
    """A host as asked for; what nobody asked for is as it was measured, or assumed and said so.

    Raises:
        OptionError: something was asked for that makes no difference.
    """
    check(wishes)
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


def prices(wishes: Wishes) -> Prices:
    """What things cost."""
    return Prices(wishes.host_price or 0.0, wishes.gpu_price or 0.0)


def warnings(found: Host, known: Basis) -> tuple[str, ...]:
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
