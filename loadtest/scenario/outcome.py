"""A scenario from profile to verdict: [Profile] -> [Bench] -> [Findings] -> [Outcome] on disk and in words."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadtest import run_folder
from loadtest.errors import OptionError
from loadtest.scenario.bench import Bench
from loadtest.scenario.kinds import KINDS, Findings
from loadtest.scenario.profile import Profile
from loadtest.step import Step
from loadtest.table import RULE

DOCUMENT = "scenario.json"


@dataclass(frozen=True, slots=True)
class Check:
    """One condition and whether it held."""

    condition: str
    value: float
    held: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a scenario.

    Attributes:
        scenario: name of its profile.
        kind: of scenario.
        url: the service.
        passed: every condition held and every deciding step is valid.
        checks: the conditions.
        invalid: why the steps are no measurement of the service; empty if they are.
        figures: all that was found, by name.
        remarks: what a person should know besides.
        steps: all steps that were made.
    """

    scenario: str
    kind: str
    url: str
    passed: bool
    checks: tuple[Check, ...]
    invalid: tuple[str, ...]
    figures: dict[str, float]
    remarks: tuple[str, ...]
    steps: tuple[Step, ...]


def check(profile: Profile) -> None:
    """Makes sure, before anything is sent, that the profile can be judged.

    Raises:
        OptionError: its kind is unknown, or a condition names a figure that its kind does not have.
    """
    if profile.kind not in KINDS:
        raise OptionError(f"{profile.name}: kind: {profile.kind!r} is none of {', '.join(KINDS)}")
    known = KINDS[profile.kind].figures
    for condition in profile.conditions:
        if condition.figure not in known:
            raise OptionError(f"{profile.name}: pass: {condition.figure!r} is none of {', '.join(known)}")
    if not profile.conditions:
        raise OptionError(f"{profile.name}: pass: is empty; say what must hold")


def carry_out(profile: Profile, bench: Bench) -> Outcome:
    """Makes the steps, judges them and writes scenario.json.

    Raises:
        LoadTestError: a step could not be made.
    """
    check(profile)
    findings = KINDS[profile.kind].run(bench)
    outcome = judge(profile, findings, bench.url, tuple(bench.steps))
    run_folder.write(outcome, bench.folder / DOCUMENT)
    return outcome


def judge(profile: Profile, findings: Findings, url: str, steps: tuple[Step, ...]) -> Outcome:
    """Holds the findings against the profile's conditions."""
    checks = tuple(
        Check(str(condition), findings.figures[condition.figure], condition.holds(findings.figures))
        for condition in profile.conditions
    )
    invalid = tuple(f"{made.name}: {reason}" for made in findings.deciding for reason in made.invalid)
    return Outcome(
        scenario=profile.name,
        kind=profile.kind,
        url=url,
        passed=bool(findings.deciding) and not invalid and all(one.held for one in checks),
        checks=checks,
        invalid=invalid,
        figures=findings.figures,
        remarks=findings.remarks,
        steps=steps,
    )


def tell(outcome: Outcome, say: Callable[[str], None]) -> None:
    """The outcome in words, a line at a time; the last one is the verdict."""
    say(RULE)
    for name, value in outcome.figures.items():
        say(f"{name:<24}{value:>14.4g}")
    say(RULE)
    for one in outcome.checks:
        say(f"{'held' if one.held else 'BROKEN':<8}{one.condition}   (it is {one.value:.4g})")
    for remark in outcome.remarks:
        say(f"note    {remark}")
    for reason in outcome.invalid:
        say(f"not a valid measurement: {reason}")
    word = "PASSED" if outcome.passed else "INVALID" if outcome.invalid else "FAILED"
    say(f"{word}: scenario {outcome.scenario} against {outcome.url}")


def forget(folder: Path) -> None:
    """Makes an earlier scenario's steps in the folder look undone, so that they are made anew."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*folder.glob(f"*/{run_folder.RUN}"), folder / run_folder.REFERENCES, folder / DOCUMENT):
        path.unlink(missing_ok=True)
