"""Reads a scenario's profile: TOML -> [Profile]. A profile is a file of its own or the name of one that comes along.

`Condition`, `parse_condition`: what a scenario must hold to pass: `late_or_dropped <= 0.01` -> [Condition] -> verdict
on its figures. Pure.
"""

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from framefleet.text_file import NotText, read_text
from loadtest.errors import OptionError
from loadtest.options import ReplayOptions, checked

OPERATORS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq, "<": operator.lt, ">": operator.gt}
_FORM = re.compile(r"(\w+)\s*(<=|>=|==|<|>)\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
# Of the plan's values; a share above 1 is what the scenario `overload` is for.
LIMITS: dict[str, tuple[float, float]] = {
    "capacity_fps": (0, 1_000_000),
    "share": (0.01, 1),
    "quantile": (0.01, 1),
    "first_fps": (0.01, 100_000),
    "search_s": (0.5, 3600),
    "runs": (1, 1000),
    "every_s": (0.1, 86_400),
}
MOST_CLIENTS, MOST_SHOWN = 10_000, 24
FOLDER = Path(__file__).parent.parent / "profiles"


@dataclass(frozen=True, slots=True)
class Condition:
    """One figure and its limit.

    Attributes:
        figure: name of a scenario's figure.
        relation: how it must relate to the limit, one of `OPERATORS`.
        limit: in the figure's own unit.
    """

    figure: str
    relation: str
    limit: float

    def __str__(self) -> str:
        return f"{self.figure} {self.relation} {self.limit:g}"

    def holds(self, figures: Mapping[str, float]) -> bool:
        """Whether the figures meet it; an unknown figure (NaN) never does."""
        value = figures[self.figure]
        return not math.isnan(value) and bool(OPERATORS[self.relation](value, self.limit))


@dataclass(frozen=True, slots=True)
class ProfilePlan:
    """What a scenario does besides sending; each kind uses some of it.

    Attributes:
        capacity_fps: frames per second that the service holds within the SLO; 0 measures it first.
        share: of that capacity that is sent, for soak, chaos and deploy.
        quantile: share of all frames that must be the same and within the SLO for a rate to count as held.
        first_fps: rate at which the search for the capacity begins.
        search_s: length of each step of that search.
        runs: verifications of the rate that was found.
        ladder: numbers of clients, for offline.
        disturb: `kill` ends an instance of this machine by signal 9, anything else is a command; `{n}` in it becomes
            the number of the disturbance, from 1.
        every_s: seconds from one disturbance to the next.
    """

    capacity_fps: float = 0.0
    share: float = 0.7
    quantile: float = 0.99
    first_fps: float = 4.0
    search_s: float = 8.0
    runs: int = 5
    ladder: tuple[int, ...] = (1, 2, 4, 8, 16)
    disturb: str = ""
    every_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Profile:
    """A scenario.

    Attributes:
        name: of the profile.
        kind: of scenario, a key of `scenario.kinds.KINDS`.
        about: what it shows, in a sentence or two.
        conditions: all of them must hold to pass.
        load: what is sent and what counts as right and in time.
        plan: what else is done.
    """

    name: str
    kind: str
    about: str
    conditions: tuple[Condition, ...]
    load: ReplayOptions
    plan: ProfilePlan


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The profile as it is written; `pass` is a word of Python's."""

    kind: str
    about: str
    conditions: tuple[str, ...] = msgspec.field(name="pass")
    load: dict[str, Any] = {}
    plan: dict[str, Any] = {}


def names() -> tuple[str, ...]:
    """The profiles that come along."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read(name: str) -> Profile:
    """Reads a profile.

    Args:
        name: one of `names()`, or the path of a file that ends in `.toml`.

    Raises:
        OptionError: there is none, or a value in it makes no sense.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        file = msgspec.toml.decode(read_text(path), type=_File)
    except OSError:
        raise OptionError(f"{name}: no such profile; there are {', '.join(names())}, or give a .toml file") from None
    except NotText as error:
        raise OptionError(f"{path}: {error}; {error.fix}") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise OptionError(f"{path}: {error}") from None
    return Profile(
        name=path.stem,
        kind=file.kind,
        about=file.about,
        conditions=tuple(parse_condition(text, f"{path}: pass") for text in file.conditions),
        load=checked(_filled(ReplayOptions, file.load, f"{path}: load")),
        plan=checked_plan(_filled(ProfilePlan, file.plan, f"{path}: plan")),
    )


def changed(profile: Profile, given: dict[str, Any]) -> Profile:
    """The profile with some of its load's and plan's values replaced.

    Raises:
        OptionError: a value is out of range.
    """
    load, plan = ({k: v for k, v in given.items() if k in _names(kind)} for kind in (ReplayOptions, ProfilePlan))
    changed_plan = checked_plan(replace(profile.plan, **plan))
    return replace(profile, load=checked(replace(profile.load, **load)), plan=changed_plan)


def checked_plan(plan: ProfilePlan) -> ProfilePlan:
    """The same plan.

    Raises:
        OptionError: a value is out of range.
    """
    for name, (low, high) in LIMITS.items():
        value = getattr(plan, name)
        if not low <= value <= high:
            flag = "--" + name.replace("_", "-")
            raise OptionError(f"{flag}={str(value)[:MOST_SHOWN]}: must be from {low:,} to {high:,}")
    if not plan.ladder or not all(1 <= clients <= MOST_CLIENTS for clients in plan.ladder):
        raise OptionError(f"plan.ladder: numbers of clients, each from 1 to {MOST_CLIENTS:,}")
    return plan


def _names(kind: type) -> set[str]:
    return {field.name for field in fields(kind)}


def _filled(kind: Any, given: dict[str, Any], where: str) -> Any:
    if unknown := sorted(set(given) - _names(kind)):
        raise OptionError(f"{where}.{unknown[0]}: no such key; there are {', '.join(sorted(_names(kind)))}")
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise OptionError(f"{where}: {error}") from None


def parse_condition(text: str, where: str) -> Condition:
    """Reads a condition.

    Args:
        text: `FIGURE RELATION NUMBER`.
        where: names the place in a complaint.

    Raises:
        OptionError: it is something else.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise OptionError(
            f"{where}: {text!r} is no condition; write FIGURE, one of {' '.join(OPERATORS)}, and a number"
        )
    return Condition(match[1], match[2], float(match[3]))
