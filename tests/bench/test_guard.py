"""`make bench-guard`: which ratios fail it, and what it measures."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import guard
from bench.bare_server import INPUT_SIDE, BareWork
from bench.guard import Costs, cases, main, worse

KEPT = {"small": 2.0, "large": 1.2}


@pytest.mark.parametrize("ratios", [KEPT, {"small": 2.19, "large": 1.0}], ids=["the same", "a little worse, better"])
def test_ratios_within_a_tenth_pass(ratios: dict[str, float]) -> None:
    assert worse(ratios, KEPT) == []


def test_a_ratio_over_a_tenth_worse_is_named() -> None:
    assert worse({"small": 2.0, "large": 1.33}, KEPT) == ["large: 1.33, 11% over the kept 1.20"]


def test_a_case_that_nothing_is_kept_for_fails() -> None:
    assert worse({"new": 1.0}, KEPT) == ["new: nothing is kept for it"]


def test_the_ratio_is_of_medians_so_that_a_disturbed_round_counts_little() -> None:
    assert Costs([2.0, 2.0, 90.0], [1.0, 7.0, 1.0]).ratio == 2.0


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, float]]:
    """What the next measurements give; there are kept ratios."""
    runs: list[dict[str, float]] = []
    monkeypatch.setattr(guard, "measured", lambda: runs.pop(0))
    monkeypatch.setattr(guard, "KEPT", tmp_path / "guard.json")
    guard.KEPT.write_text(json.dumps(KEPT))
    return runs


def test_a_ratio_that_is_worse_twice_fails(
    measuring: list[dict[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    measuring += [{"small": 2.5, "large": 1.2}, {"small": 2.4, "large": 1.2}]

    assert main([]) == 1
    assert "small: 2.40, 20% over the kept 2.00" in capsys.readouterr().err


def test_one_that_is_worse_once_passes(measuring: list[dict[str, float]]) -> None:
    measuring += [{"small": 2.5, "large": 1.2}, {"small": 2.0, "large": 1.4}]

    assert main([]) == 0


def test_an_update_keeps_what_was_measured(measuring: list[dict[str, float]]) -> None:
    measuring += [{"small": 2.504, "large": 1.3}, {"small": 2.504, "large": 1.3}]

    assert main(["--update"]) == 0
    assert json.loads(guard.KEPT.read_text()) == {"small": 2.5, "large": 1.3}
    assert main([]) == 0


def test_every_guarded_request_has_a_kept_ratio_and_is_bare_work() -> None:
    work, found = BareWork(), list(cases(np.full((48, 64, 3), 200, np.uint8)))

    assert {case.name for case in found} == set(json.loads(guard.KEPT.read_text()))
    for case in found:
        slot = (work.first_protocol if case.path == "/predict" else work.jpeg)(case.body)
        middle = INPUT_SIDE // 2
        assert slot.shape == (INPUT_SIDE, INPUT_SIDE, 3)
        assert abs(int(slot[middle, middle, 0]) - 200) <= 2
