"""Which placements are tried, and which is advised."""

import math

import pytest

from bench.tune import Placement, Tried, Try, best, placements, placements_text


def tried(instances: int, *fps: float, own: str = "auto") -> Tried:
    return Tried(Placement(instances, own), [Try(one, 20.0, 150.0) for one in fps])


@pytest.mark.parametrize(
    ("cpus", "expected"),
    [
        (1, ["1 on all CPUs", "2 sharing all CPUs"]),
        (2, ["1 on all CPUs", "2 on CPUs of their own", "2 sharing all CPUs", "4 sharing all CPUs"]),
    ],
)
def test_few_cpus_have_few_placements(cpus: int, expected: list[str]) -> None:
    assert [str(one) for one in placements(cpus)] == expected


def test_a_large_machine_is_tried_in_halves_of_halves_and_within_what_a_fleet_may_have() -> None:
    own, shared = ([one.instances for one in placements(128) if one.own == own] for own in ("auto", "0"))
    assert (own, shared) == ([1, 8, 16, 32, 64], [64])


def test_the_median_of_all_tries_counts() -> None:
    assert best([tried(1, 100, 100, 100), tried(2, 90, 500, 95)]).placement == Placement(1)


def test_of_what_answers_as_much_fewer_instances_win_and_of_as_many_the_faster_ones() -> None:
    shared = tried(2, 97, own="0")
    assert best([tried(1, 90), shared, tried(2, 98), tried(4, 100)]).placement == Placement(2)
    assert best([tried(1, 96), shared, tried(4, 100)]).placement == Placement(1)


def test_what_to_write_where_is_said_below_the_table() -> None:
    shown = placements_text(
        [tried(1, 50.0), tried(2, 80.25), Tried(Placement(2, "0"), [Try(70, math.nan, math.nan, ("late",))])]
    )
    assert shown.splitlines() == [
        "instances                   frames/s   p95, ms  memory, MiB",
        "1 on all CPUs                   50.0      20.0          150",
        "2 on CPUs of their own          80.2      20.0          300",
        "2 sharing all CPUs              70.0         -            -",
        "not a valid measurement of every placement: late",
        "best here: 2 on CPUs of their own",
        "  on this machine: make up INSTANCES=2",
        '  on a host like it, in fleet.toml below [[hosts]]: cpu = 2, cpus_per_instance = "auto"',
    ]


def test_shared_cpus_are_asked_for_in_the_advice() -> None:
    shown = placements_text([tried(4, 80.0, own="0")])
    assert "make up INSTANCES=4 CPUS=0\n" in shown
    assert shown.endswith("cpu = 4, cpus_per_instance = 0")


def test_a_lone_instance_is_advised_with_a_caution() -> None:
    assert placements_text([tried(1, 80.0)]).endswith("two are safer, if they answer nearly as much")
