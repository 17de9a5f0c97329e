"""The host a recipe works on: the release it is part of, and what of the world its steps may use."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.fleet import Code, Machine
from deploy.machine.command import Runner
from deploy.machine.devices import Devices
from deploy.machine.service_manager import ServiceManager
from deploy.machine.world import World
from deploy.release import Release


@dataclass(frozen=True, slots=True)
class Site:
    """One host, seen from a release that is built there.

    Attributes:
        code: the release this runs in.
        release: what its release.json says.
        machine: what the host is.
        manager: keeps supervisord alive.
        devices: looks for GPUs and CPUs.
        runner: runs a command and waits for its end.
        world: shows and times what is done.
        steady_s: s that a new release must last, in its trial and once it serves; most of what dies late dies by then.
    """

    code: Code
    release: Release
    machine: Machine
    manager: ServiceManager
    devices: Callable[[], Devices]
    runner: Runner
    world: World
    steady_s: float = 8.0

    @property
    def install(self) -> Path:
        """The folder that holds `releases/`."""
        return self.code.repo.parent.parent

    @property
    def history(self) -> Path:
        """What was deployed here. Where only root writes: it decides what root puts in place."""
        return self.install / "deployed.json"

    @property
    def lock(self) -> Path:
        """Held while a release is built or deployed; the bootstrap's."""
        return self.install / "deploy.lock"
