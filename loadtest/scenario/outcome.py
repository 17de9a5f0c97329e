"""A scenario from profile to verdict: [Profile] -> [Bench] -> [Findings] -> [Outcome] on disk and in words."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path

from loadtest.errors import OptionError, RunError
from loadtest.measure import run_folder
from loadtest.measure.step import Step
from loadtest.report.table import RULE
from loadtest.scenario.bench import Bench
from loadtest.scenario.kinds import KINDS, Findings
from loadtest.scenario.profile import Plan, Profile
from loadtest.target import proof, reference

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
        passed: every condition held, every deciding step is valid, and what the scenario claims to test was tested.
        checks: the conditions.
        untested: why the scenario did not test what it claims; empty if it did.
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
    untested: tuple[str, ...]
    invalid: tuple[str, ...]
    figures: dict[str, float]
    remarks: tuple[str, ...]
    steps: tuple[Step, ...]


def check(profile: Profile, given: Collection[str] = ()) -> None:
    """Makes sure, before anything is sent, that the profile can be judged.

    Args:
        profile: the scenario.
        given: names of the options on the command line.

    Raises:
        OptionError: its kind is unknown, a condition names a figure that its kind does not have, or an option would
            make no difference.
    """
    if profile.kind not in KINDS:
        raise OptionError(f"{profile.name}: kind: {profile.kind!r} is none of {', '.join(KINDS)}")
    known = KINDS[profile.kind].figures
    for condition in profile.conditions:
        if condition.figure not in known:
            raise OptionError(f"{profile.name}: pass: {condition.figure!r} is none of {', '.join(known)}")
    if not profile.conditions:
        raise OptionError(f"{profile.name}: pass: is empty; say what must hold")
    _demand_effect(profile, given)


def _demand_effect(profile: Profile, given: Collection[str]) -> None:
    kind = KINDS[profile.kind]
    idle = ({field.name for field in fields(Plan)} - set(kind.plan)) | set(kind.sets)
    if profile.load.closed:
        idle |= {"fps", "burst"}
    for name in sorted(idle & set(given)):
        flag = "--" + name.replace("_", "-")
        raise OptionError(f"{flag}: makes no difference to the scenario {profile.name} ({profile.kind}); leave it out")


def carry_out(profile: Profile, bench: Bench) -> Outcome:
    """Makes the steps, judges them and writes scenario.json.

    Raises:
        LoadTestError: a step could not be made.
    """
    check(profile)
    findings = KINDS[profile.kind].run(bench)
    findings = replace(findings, remarks=(*_proof(bench), *bench.remarks, *findings.remarks))
    outcome = judge(profile, findings, bench.url, tuple(bench.steps))
    try:
        run_folder.write(outcome, bench.folder / DOCUMENT)
    except OSError as error:
        raise RunError(f"{bench.folder}: {error.strerror}; give another folder with --out") from None
    return outcome


def _proof(bench: Bench) -> tuple[str, ...]:
    if not bench.references.exists():
        return ()
    warning = proof.of(reference.load(bench.references).detections).warning
    return (warning,) if warning else ()


def judge(profile: Profile, findings: Findings, url: str, steps: tuple[Step, ...]) -> Outcome:
    """Holds the findings against the profile's conditions."""
    checks = tuple(
        Check(str(condition), findings.figures[condition.figure], condition.holds(findings.figures))
        for condition in profile.conditions
    )
    invalid = tuple(f"{made.name}: {reason}" for made in findings.deciding for reason in made.invalid)
    empty = [made.name for made in findings.deciding if not made.counts.ok]
    untested = (*findings.untested, *(f"{name}: no frame was answered as without load" for name in empty))
    return Outcome(
        scenario=profile.name,
        kind=profile.kind,
        url=url,
        passed=bool(findings.deciding) and not invalid and not untested and all(one.held for one in checks),
        checks=checks,
        untested=untested,
        invalid=invalid,
        figures=findings.figures,
        remarks=findings.remarks,
        steps=steps,
    )


def tell(outcome: Outcome, say: Callable[[str], None]) -> None:
    """The outcome in words, a line at a time; the last one is the verdict."""
    say(RULE)
    for name, value in outcome.figures.items():
        say(f"{name:<24}{_figure(value):>14}")
    say(RULE)
    for one in outcome.checks:
        say(f"{'held' if one.held else 'BROKEN':<8}{one.condition}   (it is {_figure(one.value)})")
    for remark in outcome.remarks:
        say(f"note    {remark}")
    for reason in outcome.untested:
        say(f"not tested: {reason}")
    for reason in outcome.invalid:
        say(f"not a valid measurement: {reason}")
    say(f"{_word(outcome)}: scenario {outcome.scenario} against {outcome.url}")


def _word(outcome: Outcome) -> str:
    if outcome.passed:
        return "PASSED"
    if outcome.invalid:
        return "INVALID"
    return "NOT TESTED" if outcome.untested and all(one.held for one in outcome.checks) else "FAILED"


def _figure(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.4g}"


def forget(folder: Path) -> None:
    """Makes an earlier scenario's steps in the folder look undone, so that they are made anew.

    Raises:
        RunError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (*folder.glob(f"*/{run_folder.RUN}"), folder / run_folder.REFERENCES, folder / DOCUMENT):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: {error.strerror}; give another folder with --out") from None
