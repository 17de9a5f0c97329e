"""What an instance finds in its environment; the same on a developer's machine and on a host."""

from collections.abc import Mapping
from pathlib import Path

from deploy.describe.placement import Place
from deploy.fleet import PREFIX, Instance

CPU = "cpu"
# Log lines must reach the log file when they are written, not when a buffer is full. And the engine has its own thread
# budget; a second pool per library would fight it for the cores.
SURROUNDINGS = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def make_instance(
    name: str,
    host: str,
    port: int,
    *,
    place: Place,
    model: str,
    release: str,
    settings: Mapping[str, str],
    quarantine: Path,
    device: str = CPU,
    surroundings: Mapping[str, str] | None = None,
) -> Instance:
    """Puts one instance together.

    Args:
        name: unique on its machine.
        host: address it listens on.
        port: port it listens on.
        place: its CPUs, and its CPU threads unless the settings say otherwise.
        model: absolute path or `simulated:...`.
        release: the id it shows.
        settings: service settings by their whole name.
        quarantine: folder that all instances of a machine share.
        device: UUID of its GPU, or `cpu`.
        surroundings: variables that are no settings of the service.
    """
    environment = {
        **SURROUNDINGS,
        **(surroundings or {}),
        PREFIX + "THREADS": str(place.threads),
        PREFIX + "QUARANTINE": str(quarantine),
        **settings,
        PREFIX + "MODEL": model,
        PREFIX + "HOST": host,
        PREFIX + "PORT": str(port),
        PREFIX + "INSTANCE": name,
        PREFIX + "RELEASE": release,
        PREFIX + "CPUS": place.cpus,
    }
    return Instance(name, host, port, environment, device)
