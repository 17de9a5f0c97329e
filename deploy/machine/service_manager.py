"""What keeps supervisord alive: systemd on a host, nobody where people start it themselves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from deploy.errors import Problem, StartError
from deploy.fleet import Fleet, Unit
from deploy.machine.command import Outcome
from deploy.machine.machine import Machine

UNITS = Path("/etc/systemd/system")
RUNNING = Path("/run/systemd/system")
FIX = f"journalctl -u {Unit.name} says more"


class ServiceManager(Protocol):
    """Starts supervisord at boot and whenever it ends, until it is told to stop."""

    def problems(self) -> Iterator[Problem]:
        """Says why it cannot work here."""
        ...

    def install(self, unit: str) -> bool:
        """Makes sure that this unit file is the one at the next boot; True if it was another or none."""
        ...

    def start(self, fleet: Fleet) -> None:
        """Starts the fleet's supervisord.

        Raises:
            StartError: it was refused.
        """
        ...

    def stop(self) -> None:
        """Stops it, and with it every program."""
        ...

    def remove(self) -> None:
        """Forgets the unit."""
        ...


class Foreground:
    """Starts supervisord as a process of who calls; the next boot does not."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def problems(self) -> Iterator[Problem]:
        """It needs nothing."""
        yield from ()

    def install(self, unit: str) -> bool:
        """There is no unit."""
        return False

    def start(self, fleet: Fleet) -> None:
        """Starts supervisord, which detaches itself from the terminal."""
        self._machine.start_supervisord(fleet.lasting, fleet.paths, self._machine.environ)

    def stop(self) -> None:
        """Who stops a fleet stops its supervisord too."""

    def remove(self) -> None:
        """There is no unit."""


class Systemd:
    """The service manager of a host.

    Args:
        machine: the host.
        units: folder of unit files.
    """

    def __init__(self, machine: Machine, units: Path = UNITS) -> None:
        self._machine, self._file = machine, units / Unit.name

    def problems(self) -> Iterator[Problem]:
        """Says so if the machine was not booted with systemd."""
        if not RUNNING.is_dir():
            yield Problem("systemd", "does not run this machine", "`make up` starts a fleet without it")

    def install(self, unit: str) -> bool:
        """Writes and enables the unit if it differs."""
        changed = not self._file.exists() or self._file.read_text() != unit
        if changed:
            self._machine.write_text(self._file, unit, 0o644, durable=True)
            self._call("daemon-reload")
        self._call("--quiet", "enable", Unit.name)
        return changed

    def start(self, fleet: Fleet) -> None:
        """Starts the unit, also one that has failed before."""
        self._machine.run(("systemctl", "reset-failed", Unit.name))
        self._call("start", Unit.name)

    def stop(self) -> None:
        """Stops the unit; one that does not exist is fine."""
        if self._file.exists():
            self._call("stop", Unit.name)

    def remove(self) -> None:
        """Disables and deletes the unit."""
        if self._file.exists():
            self._call("--quiet", "disable", Unit.name)
            self._machine.remove(self._file)
            self._call("daemon-reload")
            self._machine.run(("systemctl", "reset-failed", Unit.name))

    def _call(self, *arguments: str) -> Outcome:
        outcome = self._machine.run(("systemctl", *arguments))
        if outcome.code != 0:
            last = (outcome.output.strip().splitlines() or [f"exit code {outcome.code}"])[-1]
            raise StartError(Problem(f"systemctl {' '.join(arguments)}", last, FIX))
        return outcome
