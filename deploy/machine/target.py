"""The host that a release is deployed to: the release that does it, and what there is to do it with."""

from dataclasses import dataclass
from pathlib import Path

from deploy.fleet import Code, HostFacts
from deploy.machine.machine import Machine
from deploy.machine.service_manager import ServiceManager
from deploy.release import Release


@dataclass(frozen=True, slots=True)
class Target:
    """One host, seen from a release that is built there.

    Attributes:
        code: the release this runs in.
        release: what its release.json says.
        facts: what the host is.
        manager: keeps supervisord alive.
        machine: does what has to be done.
        steady_s: s that a new release must last, in its trial and once it serves; most of what dies late dies by then.
    """

    code: Code
    release: Release
    facts: HostFacts
    manager: ServiceManager
    machine: Machine
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
