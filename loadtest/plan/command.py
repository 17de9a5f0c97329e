"""`python -m loadtest plan | simulate`: measurements on disk -> a plan on the terminal and in plan.json."""

import argparse
from pathlib import Path

from loadtest import run_folder
from loadtest.capacity import records
from loadtest.capacity.records import Capacity
from loadtest.errors import RunError
from loadtest.plan import agreement, text
from loadtest.plan.basis import basis, on_cpu
from loadtest.plan.planner import plan
from loadtest.plan.records import TARGET, Basis, Demand, Host, Plan, Prices
from loadtest.plan.trial import attempt

DONE, FAILED = 0, 1
DEFAULT = Path("var/capacity") / records.FILE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `plan` and `simulate` both take."""
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help=f"capacity.json files (default {DEFAULT})")
    parser.add_argument("--streams", type=int, required=True, help="cameras")
    parser.add_argument("--fps", type=float, required=True, help="frames per second of each")
    parser.add_argument("--p95-ms", type=float, help="95 %% of the frames within it (default: as it was measured)")
    parser.add_argument("--target", type=float, default=TARGET, help="part of its capacity used (default %(default)s)")
    parser.add_argument("--gpus-per-host", type=int, help="default: 1, or 0 if CPU engines were measured")
    parser.add_argument(
        "--instances-per-host", type=int, default=0, help="default: one per GPU, or as many as measured"
    )
    parser.add_argument("--cores-per-host", type=float, default=8, help="default %(default)s")
    parser.add_argument("--nic-gbps", type=float, default=1, help="network of a host (default %(default)s)")
    parser.add_argument("--host-price", type=float, default=0, help="of a host, in any unit")
    parser.add_argument("--gpu-price", type=float, default=0, help="of a GPU, in the same unit")
    parser.add_argument("--out", type=Path, help="write the plan as JSON to this file too")


def run_plan(namespace: argparse.Namespace) -> int:
    """Prints a plan."""
    known, found = _plan(_measured(namespace), namespace)
    print(text.render(found, known))
    _write(found, namespace.out)
    return DONE


def run_simulate(namespace: argparse.Namespace) -> int:
    """Prints a plan and what its simulation says; fails if the plan does not hold there."""
    measured = _measured(namespace)
    known, found = _plan(measured, namespace)
    print(text.render(found, known))
    _write(found, namespace.out)
    largest = max(measured, key=lambda one: one.instances)
    model = agreement.model_of(largest)
    trial = attempt(found, known, model, seed=1)
    print(text.trial_text(trial))
    print(agreement.text(agreement.compare(largest, model, seed=1)))
    return DONE if trial.holds else FAILED


def _measured(namespace: argparse.Namespace) -> list[Capacity]:
    return [records.read(path) for path in namespace.files or [DEFAULT]]


def _plan(measured: list[Capacity], namespace: argparse.Namespace) -> tuple[Basis, Plan]:
    demand = Demand(namespace.streams, namespace.fps, namespace.p95_ms, namespace.target)
    known = basis(measured, demand.p95_ms)
    gpus: int = int(not on_cpu(measured)) if namespace.gpus_per_host is None else namespace.gpus_per_host
    instances: int = namespace.instances_per_host or gpus or max(one.instances for one in measured)
    host = Host(instances, gpus, namespace.cores_per_host, namespace.nic_gbps)
    return known, plan(known, demand, host, Prices(namespace.host_price, namespace.gpu_price))


def _write(found: Plan, path: Path | None) -> None:
    if path is None:
        return
    try:
        run_folder.write(found, path)
    except PermissionError:  # whose it is, is said where every command ends
        raise
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}; give another file with --out") from None
