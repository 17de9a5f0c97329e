"""What can go wrong while a fleet is set up, as one tree; every message says where, what and how to fix it.

DeployError                     exit code
|- SettingsError        2       options, environment or paths make no fleet
|- PreflightError       1       this machine cannot run the fleet now: nginx, model, ports
|- CheckError           1       nginx or supervisor refuses what was rendered
|- StartError           1       a program ended or never answered
`- ControlError         1       supervisord does not answer, or refuses
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that stands in the way.

    Attributes:
        where: option, path or file:line.
        what: what is wrong there.
        fix: what to do about it.
    """

    where: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.fix}"


class DeployError(Exception):
    """Base of every error this package raises on purpose; prints as one line per problem."""

    exit_code = 1

    def __init__(self, problems: Sequence[Problem] | Problem) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SettingsError(DeployError):
    """The options and the environment do not make a fleet."""

    exit_code = 2


class PreflightError(DeployError):
    """This machine lacks something the fleet needs."""


class CheckError(DeployError):
    """nginx or supervisor refuses a rendered file."""


class StartError(DeployError):
    """A program ended while it started, or did not answer in time."""


class ControlError(DeployError):
    """supervisord does not answer on its socket, or refuses a request."""


def raise_if(kind: type[DeployError], problems: Sequence[Problem]) -> None:
    """Raises an error with all of the problems, if there are any."""
    if problems:
        raise kind(problems)
