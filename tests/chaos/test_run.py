"""Faults are drawn as the seed says, and two that come together are both provoked and both healed."""

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from threading import Barrier

import pytest

from chaos.faults.stage import Stage
from chaos.matrix import MATRIX, PLUS, Fault, Pair
from chaos.rehearsal import ChaosError, Instance, Rehearsal
from chaos.run import at_once, drawn

A, B = Instance("cpu0", "http://127.0.0.1:1"), Instance("cpu1", "http://127.0.0.1:2")
STAGE = Stage(Rehearsal(Path("none"), 1, "none", 2, {}), A, B, b"", False)


def names(seed: int) -> list[str]:
    return [fault.name for fault in islice(drawn(MATRIX, random.Random(seed)), 20)]


def test_a_seed_draws_the_same_faults_again_every_second_one_a_pair() -> None:
    assert names(1) == names(1) != names(2)
    assert [PLUS in name for name in names(1)] == [False, True] * 10


def test_nothing_is_drawn_where_nothing_may_be() -> None:
    assert list(drawn([fault for fault in MATRIX if not fault.at_random], random.Random(1))) == []


def test_two_faults_are_provoked_at_the_same_time_on_two_instances_and_both_are_healed() -> None:
    said: list[str] = []
    both = Barrier(2, timeout=30)

    def provoke(stage: Stage) -> Iterator[None]:
        both.wait()
        yield
        said.append(stage.chosen.name)

    (_,) = at_once(Pair(Fault("a", provoke), Fault("b", provoke), 0.0), STAGE)
    assert sorted(said) == ["cpu0", "cpu1"]


def test_one_is_healed_even_if_the_other_could_not_be_provoked() -> None:
    healed: list[str] = []

    def cannot(stage: Stage) -> Iterator[None]:
        raise ChaosError("it cannot be provoked")
        yield

    def can(stage: Stage) -> Iterator[None]:
        yield
        healed.append(stage.chosen.name)

    with pytest.raises(ChaosError, match="cannot be provoked"):
        next(at_once(Pair(Fault("a", cannot), Fault("b", can), 0.0), STAGE))
    assert healed == ["cpu1"]
