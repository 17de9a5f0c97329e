"""A scenario passes only if all its conditions hold and its steps are valid."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.options import ReplayOptions
from loadtest.scenario.condition import parse
from loadtest.scenario.kinds import Findings
from loadtest.scenario.outcome import forget, judge, tell
from loadtest.scenario.profile import Plan, Profile
from tests.loadtest.scenario.test_figures import STEP

URL = "http://fleet"
CONDITIONS = (parse("wrong == 0", "here"), parse("recovery_s <= 5", "here"))
PROFILE = Profile("own", "overload", "text", CONDITIONS, ReplayOptions(), Plan())
GOOD = {"wrong": 0.0, "recovery_s": 2.0}
LATE = replace(STEP, name="bad", invalid=("the generator sent late",))


@pytest.mark.parametrize(
    ("findings", "word"),
    [
        (Findings(GOOD, (STEP,)), "PASSED"),
        (Findings(GOOD | {"recovery_s": 6.0}, (STEP,)), "FAILED"),
        (Findings(GOOD | {"recovery_s": math.nan}, (STEP,)), "FAILED"),
        (Findings(GOOD, (STEP, LATE)), "INVALID"),
        (Findings(GOOD, ()), "FAILED"),
    ],
    ids=["all hold", "one broken", "one unknown", "late generator", "no step"],
)
def test_the_verdict(findings: Findings, word: str) -> None:
    lines: list[str] = []
    outcome = judge(PROFILE, findings, URL, (STEP, LATE))
    tell(outcome, lines.append)
    assert outcome.passed is (word == "PASSED")
    assert lines[-1] == f"{word}: scenario own against {URL}"


def test_steps_on_the_way_may_be_invalid() -> None:
    assert judge(PROFILE, Findings(GOOD, (STEP,)), URL, (LATE, STEP)).passed


def test_what_broke_and_why_is_told() -> None:
    lines: list[str] = []
    findings = Findings(GOOD | {"wrong": 2.0}, (LATE,), ("instance 3 was away",))
    tell(judge(PROFILE, findings, URL, (LATE,)), lines.append)
    assert "BROKEN  wrong == 0   (it is 2)" in lines
    assert "held    recovery_s <= 5   (it is 2)" in lines
    assert "note    instance 3 was away" in lines
    assert "not a valid measurement: bad: the generator sent late" in lines


def test_forgetting_makes_earlier_steps_undone_and_removes_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "load").mkdir()
    for name in ("references.json", "scenario.json", "notes.txt", "load/run.json", "load/samples-0.bin"):
        (tmp_path / name).write_text("old")
    forget(tmp_path)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["load/samples-0.bin", "notes.txt"]
