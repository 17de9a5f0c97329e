"""Fleets for tests, the same on every machine."""

from collections.abc import Mapping
from pathlib import Path

from deploy.describe.local import FleetOptions, local_fleet
from deploy.describe.placement import EVENLY, Own
from deploy.fleet import Code, Fleet, HostFacts

MACHINE = HostFacts(
    nginx=Path("/usr/sbin/nginx"),
    cores=8,
    open_files=1_048_576,
    root=False,
    cwd=Path("/home/operator"),
)
CODE = Code(repo=Path("/opt/framefleet"), python=Path("/opt/framefleet/.venv/bin/python"))
VAR = Path("/srv/framefleet/var")


def fleet_of(
    instances: int = 2,
    *,
    var: Path = VAR,
    port: int = 8080,
    instance_port: int = 8101,
    model: str | None = None,
    release: str = "dev",
    machine: HostFacts = MACHINE,
    code: Code = CODE,
    environ: Mapping[str, str] | None = None,
    cpus_per_instance: Own = EVENLY,
) -> Fleet:
    options = FleetOptions(var, instances, port, instance_port, model, release, cpus_per_instance=cpus_per_instance)
    return local_fleet(options, machine, {0: tuple(range(machine.cores))}, code, environ or {})
