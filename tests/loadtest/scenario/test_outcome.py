"""A scenario passes only if all its conditions hold and its steps are valid."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.errors import OptionError, RunError
from loadtest.options import ReplayOptions
from loadtest.scenario import profile
from loadtest.scenario.command import demand_judgeable, forget, judge, say_outcome
from loadtest.scenario.figures import of_step
from loadtest.scenario.kinds import KINDS, ScenarioFindings
from loadtest.scenario.profile import Profile, ProfilePlan, parse_condition
from tests.loadtest.scenario.test_figures import STEP

URL = "http://fleet"
CONDITIONS = (parse_condition("changed == 0", "here"), parse_condition("recovery_s <= 5", "here"))
PROFILE = Profile("own", "overload", "text", CONDITIONS, ReplayOptions(), ProfilePlan())
GOOD = {"changed": 0.0, "recovery_s": 2.0}
NOTHING = replace(STEP, counts=replace(STEP.counts, ok=0, late=0, shed=200))
LATE = replace(STEP, name="bad", invalid=("the generator sent late",))


@pytest.mark.parametrize(
    ("findings", "word"),
    [
        (ScenarioFindings(GOOD, (STEP,)), "PASSED"),
        (ScenarioFindings(GOOD | {"recovery_s": 6.0}, (STEP,)), "FAILED"),
        (ScenarioFindings(GOOD | {"recovery_s": math.nan}, (STEP,)), "FAILED"),
        (ScenarioFindings(GOOD, (STEP, LATE)), "INVALID"),
        (ScenarioFindings(GOOD, ()), "FAILED"),
        (ScenarioFindings(GOOD, (STEP,), untested=("not overloaded",)), "NOT TESTED"),
        (ScenarioFindings(GOOD, (NOTHING,)), "NOT TESTED"),
        (ScenarioFindings(GOOD | {"recovery_s": 6.0}, (STEP,), untested=("not overloaded",)), "FAILED"),
        (ScenarioFindings(GOOD, (LATE,), untested=("not overloaded",)), "INVALID"),
    ],
    ids=[
        *("all hold", "one broken", "one unknown", "late generator", "no step"),
        *("not tested", "nothing answered", "broken and not tested", "late and not tested"),
    ],
)
def test_the_verdict(findings: ScenarioFindings, word: str) -> None:
    lines: list[str] = []
    outcome = judge(PROFILE, findings, URL, (STEP, LATE))
    say_outcome(outcome, lines.append)
    assert outcome.passed is (word == "PASSED")
    assert lines[-1] == f"{word}: scenario own against {URL}"


def test_steps_on_the_way_may_be_invalid() -> None:
    assert judge(PROFILE, ScenarioFindings(GOOD, (STEP,)), URL, (LATE, STEP)).passed


def test_what_broke_and_why_is_told() -> None:
    lines: list[str] = []
    findings = ScenarioFindings(GOOD | {"changed": 2.0}, (LATE,), ("instance 3 was away",))
    say_outcome(judge(PROFILE, findings, URL, (LATE,)), lines.append)
    assert "BROKEN  changed == 0   (it is 2)" in lines
    assert "held    recovery_s <= 5   (it is 2)" in lines
    assert "note    instance 3 was away" in lines
    assert "recovery_s              " + "unknown".rjust(14) in told(
        ScenarioFindings(GOOD | {"recovery_s": math.nan}, (STEP,))
    )
    assert "not tested: no kill" in told(ScenarioFindings(GOOD, (STEP,), untested=("no kill",)))
    assert "not a valid measurement: bad: the generator sent late" in lines


def told(findings: ScenarioFindings) -> list[str]:
    lines: list[str] = []
    say_outcome(judge(PROFILE, findings, URL, (STEP,)), lines.append)
    return lines


@pytest.mark.parametrize("name", profile.names())
def test_no_scenario_passes_when_every_frame_is_refused(name: str) -> None:
    wanted = profile.read(name)
    perfect = {figure: 0.0 for figure in KINDS[wanted.kind].figures}
    perfect |= {"fps": 9.0, "verified": 1.0, "throughput_kept": 1.0, "disturbances": 3.0}
    refused = perfect | {key: value for key, value in of_step(NOTHING).items() if key in perfect}
    assert not judge(wanted, ScenarioFindings(refused, (NOTHING,)), URL, (NOTHING,)).passed


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("cameras", "runs"),
        ("cameras", "capacity_fps"),
        ("single", "fps"),
        ("server", "fps"),
        ("server", "disturb"),
        ("offline", "cameras"),
        ("overload", "warmup_s"),
        ("overload", "share"),
        ("soak", "every_s"),
        ("chaos", "phases"),
    ],
)
def test_an_option_that_makes_no_difference_is_refused(name: str, option: str) -> None:
    flag = "--" + option.replace("_", "-")
    with pytest.raises(OptionError, match=f"{flag}: makes no difference to the scenario {name}"):
        demand_judgeable(profile.read(name), {option})


@pytest.mark.parametrize("name", profile.names())
def test_every_profile_takes_the_options_it_uses(name: str) -> None:
    wanted = profile.read(name)
    demand_judgeable(wanted, {"name", "url", "video", "seconds", "slo_ms", *KINDS[wanted.kind].plan})


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file/cameras: Not a directory; give another folder with --out"):
        forget(tmp_path / "file" / "cameras")


def test_forgetting_makes_earlier_steps_undone_and_removes_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "load").mkdir()
    for name in ("references.json", "scenario.json", "notes.txt", "load/run.json", "load/samples-0.bin"):
        (tmp_path / name).write_text("old")
    forget(tmp_path)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["load/samples-0.bin", "notes.txt"]
