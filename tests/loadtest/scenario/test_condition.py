"""Conditions hold or not, and unknown figures never pass."""

import math

import pytest

from loadtest.errors import OptionError
from loadtest.scenario.profile import Condition, parse_condition


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("late <= 0.01", 0.01, True),
        ("late <= 0.01", 0.011, False),
        ("fps >= 10", 10.0, True),
        ("fps > 0", 0.0, False),
        ("changed == 0", 0.0, True),
        ("changed == 0", 1.0, False),
        ("p95_ms < 100", 99.9, True),
        ("recovery_s <= 5", math.nan, False),
        ("growth >= 0", math.nan, False),
    ],
)
def test_a_condition_holds_or_not(text: str, value: float, holds: bool) -> None:
    condition = parse_condition(text, "here")
    assert condition.holds({condition.figure: value}) is holds


def test_a_condition_reads_as_it_was_written() -> None:
    assert str(parse_condition("  late_share<=0.01 ", "here")) == "late_share <= 0.01"
    assert parse_condition("fps > 3", "here") == Condition("fps", ">", 3.0)


@pytest.mark.parametrize(
    "text", ["", "fps", "fps 3", "fps => 3", "fps > x", "a b > 3", "fps > 3 ms", "fps > 1.2.3", "fps > ."]
)
def test_anything_else_is_named(text: str) -> None:
    with pytest.raises(OptionError, match=r"here: .* is no condition; write FIGURE"):
        parse_condition(text, "here")
