"""The verb `scenario`: arguments -> [Profile] -> [ScenarioOutcome] -> exit code.

From profile to verdict: [Profile] -> [Bench] -> [ScenarioFindings] -> [ScenarioOutcome] on disk and in words.
"""

import argparse
import math
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from loadtest.errors import OptionError, RunError
from loadtest.generate.master_address import checked_bind
from loadtest.generate.prepare import check_video
from loadtest.measure import run_folder
from loadtest.measure.step import Step
from loadtest.options import add_address, add_arguments, asked_url, checked_processes
from loadtest.report.table import RULE
from loadtest.scenario import profile
from loadtest.scenario.bench import Bench
from loadtest.scenario.kinds import KINDS, ScenarioFindings
from loadtest.scenario.profile import Profile, ProfilePlan
from loadtest.target import certificate, proof, reference
from loadtest.target.claim import folder_claim, target_claim

DOCUMENT = "scenario.json"
PASSED, FAILED = 0, 1


@dataclass(frozen=True, slots=True)
class Check:
    """One condition and whether it held."""

    condition: str
    value: float
    held: bool


@dataclass(frozen=True, slots=True)
class ScenarioOutcome:
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


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb to a command line."""
    names = ", ".join(profile.names())
    text = f"make one scenario ({names}, or a .toml file); exit code 0 only if it passes"
    parser = verbs.add_parser("scenario", help=text, description=text, argument_default=argparse.SUPPRESS)
    parser.add_argument("name", metavar="NAME", help="the scenario")
    add_address(parser)
    parser.add_argument("--out", type=Path, default=Path("var/scenario"), help="folder (default %(default)s/NAME)")
    parser.add_argument("--processes", type=int, default=1, help="that make the load (default %(default)s)")
    parser.add_argument("--bind", default="", help="ADDRESS:PORT: wait there for so many workers of other machines")
    parser.add_argument("--resume", action="store_true", default=False, help="keep the steps of a cut-short scenario")
    for name, default in asdict(ProfilePlan()).items():
        if name != "ladder":
            parser.add_argument(
                "--" + name.replace("_", "-"), type=type(default), help=f"see the profile's plan.{name}"
            )
    certificate.add_argument(parser)
    add_arguments(parser, defaults=False)
    parser.set_defaults(verb=run)


def run(namespace: argparse.Namespace) -> int:
    """Makes the scenario.

    Raises:
        LoadTestError: an option makes no sense, or a step could not be made.
    """
    processes, given = checked_processes(namespace.processes), vars(namespace)
    wanted = profile.changed(profile.read(namespace.name), given)
    demand_judgeable(wanted, given)
    check_video(wanted.load)
    bench = Bench(
        url=asked_url(namespace),
        load=wanted.load,
        plan=wanted.plan,
        folder=namespace.out / wanted.name,
        say=_say,
        processes=processes,
        bind=checked_bind(namespace.bind),
    )
    with folder_claim(bench.folder), target_claim(bench.url):
        if not namespace.resume:
            forget(bench.folder)
        print(f"{wanted.name}: {wanted.about}", flush=True)
        outcome = play(wanted, bench)
    say_outcome(outcome, _say)
    return PASSED if outcome.passed else FAILED


def _say(line: str) -> None:
    print(line, flush=True)


def demand_judgeable(profile: Profile, given: Collection[str] = ()) -> None:
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
    idle = ({field.name for field in fields(ProfilePlan)} - set(kind.plan)) | set(kind.sets)
    if profile.load.closed:
        idle |= {"fps", "burst"}
    for name in sorted(idle & set(given)):
        flag = "--" + name.replace("_", "-")
        raise OptionError(f"{flag}: makes no difference to the scenario {profile.name} ({profile.kind}); leave it out")


def play(profile: Profile, bench: Bench) -> ScenarioOutcome:
    """Makes the steps, judges them and writes scenario.json.

    Raises:
        LoadTestError: a step could not be made.
    """
    demand_judgeable(profile)
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


def judge(profile: Profile, findings: ScenarioFindings, url: str, steps: tuple[Step, ...]) -> ScenarioOutcome:
    """Holds the findings against the profile's conditions."""
    checks = tuple(
        Check(str(condition), findings.figures[condition.figure], condition.holds(findings.figures))
        for condition in profile.conditions
    )
    invalid = tuple(f"{made.name}: {reason}" for made in findings.deciding for reason in made.invalid)
    empty = [made.name for made in findings.deciding if not made.counts.ok]
    untested = (*findings.untested, *(f"{name}: no frame was answered as without load" for name in empty))
    return ScenarioOutcome(
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


def say_outcome(outcome: ScenarioOutcome, say: Callable[[str], None]) -> None:
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


def _word(outcome: ScenarioOutcome) -> str:
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
