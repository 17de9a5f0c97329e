"""What keeps supervisord alive on a host: systemd, or in tests something that stands in for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from deploy.errors import Problem, StartError
from deploy.fleet import Fleet, Unit
from deploy.machine import run
from deploy.machine.command import Outcome, Runner

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


class Systemd:
    """The real one.

    Args:
        runner: runs a command and waits for its end.
        units: folder of unit files.
    """

    def __init__(self, runner: Runner = run.run_command, units: Path = UNITS) -> None:
        self._runner, self._file = runner, units / Unit.name

    def problems(self) -> Iterator[Problem]:
        """Says so if the machine was not booted with systemd."""
        if not RUNNING.is_dir():
            yield Problem("systemd", "does not run this machine", "`make up` starts a fleet without it")

    def install(self, unit: str) -> bool:
        """Writes and enables the unit if it differs."""
        changed = not self._file.exists() or self._file.read_text() != unit
        if changed:
            run.write_text(self._file, unit, 0o644, durable=True)
            self._call("daemon-reload")
        self._call("--quiet", "enable", Unit.name)
        return changed

    def start(self, fleet: Fleet) -> None:
        """Starts the unit, also one that has failed before."""
        self._runner(("systemctl", "reset-failed", Unit.name))
        self._call("start", Unit.name)

    def stop(self) -> None:
        """Stops the unit; one that does not exist is fine."""
        if self._file.exists():
            self._call("stop", Unit.name)

    def remove(self) -> None:
        """Disables and deletes the unit."""
        if self._file.exists():
            self._call("--quiet", "disable", Unit.name)
            run.remove(self._file)
            self._call("daemon-reload")
            self._runner(("systemctl", "reset-failed", Unit.name))

    def _call(self, *arguments: str) -> Outcome:
        outcome = self._runner(("systemctl", *arguments))
        if outcome.code != 0:
            last = (outcome.output.strip().splitlines() or [f"exit code {outcome.code}"])[-1]
            raise StartError(Problem(f"systemctl {' '.join(arguments)}", last, FIX))
        return outcome
