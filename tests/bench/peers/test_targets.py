"""Ratios, the page and the plot, from figures that are made up."""

import numpy as np
import pytest

from bench.peers import __main__
from bench.peers.__main__ import BEGIN, END, NoMarkersError, to_svg, with_section
from bench.peers.measured import Life, Poisson, Results, Turn
from bench.peers.roster import FIRST, FLASK, FLEET, MODEL_FLEET, ONE, flask_route
from bench.peers.rounds import MODEL, strong_again_s
from bench.peers.targets import Target, queue_tail, targets
from bench.peers.works import LARGE, LARGE_RAW, SMALL, SMALL_RAW, TINY, WORKS


def turn(cpu_ms: float, rate: float) -> Turn:
    return Turn(cpu_ms, rate, p50_ms=10, p99_ms=15, generator_ms=0.5, lost=0)


def results() -> Results:
    """We take 1 ms and answer 100 a second, LitServe 2 and 50, FastAPI 4 and 25, the first server 5 and 20."""
    made = Results()
    for work in WORKS:
        taken = {ONE: [turn(9, 100), turn(1, 100), turn(1, 90)], FLEET: [turn(1.5, 200)]}
        others = {FIRST: [turn(5, 20)]} if work.raw else {"LitServe": [turn(2, 50)], "FastAPI": [turn(4, 25)]}
        made.turns[work.name] = taken | others
    made.turns[TINY.name][FLASK] = [turn(0.2, 400)]
    made.bare_ms = {SMALL.name: [0.5, 0.4, 9], LARGE.name: [1]}
    made.turns[MODEL] = {MODEL_FLEET: [turn(10, 100)]}
    made.model_bare_rate = [200]
    made.poisson = {FLEET: [Poisson(140, 10, 15, 0)]}
    made.lives = {
        FLEET: Life(start_s=2, loaded_mb=100, mixed_mb=120, killed=True, strong_s=0.5),
        MODEL_FLEET: Life(loaded_mb=300, killed=True, strong_s=None, kill_lost=1),
        FIRST: Life(killed=True),
    }
    return made


def by_measure() -> dict[str, Target]:
    return {target.measure: target for target in targets(results(), cores=2)}


@pytest.mark.parametrize(
    ("measure", "value", "met"),
    [
        (f"CPU of a {SMALL.name} over bare decode + letterbox", 2, False),
        (f"CPU of a {LARGE.name} over bare decode + letterbox", 1, True),
        (f"CPU of a {SMALL.name} over the best peer's", 0.5, True),
        (f"CPU of a {SMALL_RAW.name} over the first server's", 0.2, True),
        ("64x64 pictures a second over a bare Flask route, one instance", 0.25, False),
        (f"answers a second over the best peer's, {LARGE_RAW.name}", 10, True),
        # 100 a second at 0.5 ms take 0.05 of 2 cores from the fleet.
        ("default model through nginx over bare ONNX Runtime sessions, frames/s", 100 * 2 / 1.95 / 200, False),
        ("MB resident an instance, default model, its part of nginx too", 150, True),
        ("memory after many requests of mixed sizes over after a few", 1.2, False),
        ("requests lost by it", 1, False),
    ],
)
def test_a_ratio_is_of_medians_and_met_or_missed(measure: str, value: float, met: bool) -> None:
    found = by_measure()[measure]
    assert (found.value, found.met) == (pytest.approx(value), met)


def test_what_never_came_back_misses_its_target() -> None:
    assert not by_measure()["s from kill -9 until rate and instances are back, default model"].met


def test_a_run_of_some_servers_has_the_targets_it_has_figures_for() -> None:
    some = Results(turns={TINY.name: {ONE: [turn(1, 100)], FLASK: [turn(0.2, 400)]}})
    assert [target.value for target in targets(some, cores=2)] == [0.25]


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_the_tail_of_a_queue_is_that_of_a_simulated_one(load: float) -> None:
    # Lindley: who comes waits for what the one before waited and took, less the time between them.
    walk = np.cumsum(1 - np.random.default_rng(1).exponential(1 / load, 1_000_000))
    times = 1 + walk - np.minimum(np.minimum.accumulate(walk), 0)
    p50, p99 = np.percentile(times, [50, 99])
    assert queue_tail(load) == pytest.approx(p99 / p50, rel=0.02)


@pytest.mark.parametrize(
    ("answers_a_second", "expected"),
    [([10] * 12, 0), ([10, 10, 0, 0, 9, 10, 10, 10, 10, 10, 10, 10], 2), ([10, 10, *[1] * 10], None)],
)
def test_a_server_is_strong_again_when_its_rate_is_back(answers_a_second: list[int], expected: float | None) -> None:
    done = [second + part / count for second, count in enumerate(answers_a_second) for part in range(count)]
    found = strong_again_s(done, killed_s=2, limit_s=10)
    assert found == expected if expected is None else found == pytest.approx(expected, abs=0.5)


def test_the_section_replaces_what_stands_between_the_markers() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_section(page, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(NoMarkersError):
        with_section(f"{END}{BEGIN}", "new")


def test_the_tables_name_every_server_and_say_what_is_missed() -> None:
    made = results()
    text = __main__.to_markdown(made, [flask_route(1)], targets(made, 2), "2026-01-01, a machine")
    assert f"| {FLASK} | 0.20 | - | - | - | - | - |" in text
    assert f"| {__main__.BARE} | - | 0.50 | 1.00 | - | - | - |" in text
    assert f"| CPU of a {SMALL.name} over bare decode + letterbox | 2.00 | <= 1.7 | **missed** |" in text


def test_the_plot_is_the_same_for_the_same_figures() -> None:
    assert to_svg(results()) == to_svg(results())
    assert "LitServe" in to_svg(results())
