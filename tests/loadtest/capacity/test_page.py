"""The page and the ten lines say what was found."""

import re
from dataclasses import replace

import pytest

from loadtest.capacity import answer, gate, page
from loadtest.capacity.fits import Interval
from loadtest.capacity.records import Capacity, Timeline
from loadtest.capacity.row import Row
from tests.loadtest.capacity.builders import batch_fit, capacity, provenance, row
from tests.loadtest.page_reader import Page


def rich() -> Capacity:
    line = Timeline("An instance is killed", "No frame failed", (60,) * 10, (60,) * 9 + (58,), ((3.0, "kill gpu1"),))
    return capacity(others=[capacity(32.0, instances=1)], batch=batch_fit(), timelines=(line,))


def test_the_answer_takes_eleven_lines_and_comes_first() -> None:
    lines = answer.render(rich()).splitlines()
    assert len(lines) == 11
    assert re.fullmatch(
        r"2 instances of centerface-320 hold 6\d\.\d frames/s within 100 ms \(95 % of all frames\): "
        "2 cameras at 25 frames/s.",
        lines[0],
    )
    assert (
        lines[1]
        == "on          onnxruntime, cpu; on 2 cores that also made the load: without it the fleet may hold more"
    )
    assert "held 5 of 5 times" in lines[2]


@pytest.mark.parametrize(
    ("low_fps", "cameras"),
    [(124.9, ": 4 cameras at 25 frames/s."), (25.0, ": 1 camera at 25 frames/s."), (9.9, ": 1 camera at 5 frames/s.")],
)
def test_cameras_are_counted_at_the_lower_bound(low_fps: float, cameras: str) -> None:
    found = replace(capacity(), slo=Interval(low_fps, low_fps + 5, low_fps + 9))
    assert answer.headline(found).endswith(cameras)


def test_a_fleet_that_holds_no_camera_names_none() -> None:
    assert answer.headline(replace(capacity(), slo=Interval(0.2, 0.5, 0.9))).endswith("(95 % of all frames).")


def test_a_fleet_that_was_never_full_holds_at_least_so_much() -> None:
    assert "holds at least" in answer.headline(replace(capacity(instances=1), bounded=False))


def test_steps_that_cannot_be_trusted_are_counted_with_their_reasons() -> None:
    found = capacity()
    late = ("the generator sent late",)
    more = (row(500, 0.1, doubts=late, sent_in_time=1.0), row(5, doubts=late), row(300, 0.1, doubts=late))
    doubted = replace(found, rows=(*found.rows, *more))
    text = (
        f"the generator was not up to 3 of {len(doubted.rows)} steps; 1 that missed are left out, "
        f"1 met the SLO in spite of it, 1 missed it from the send on too"
    )
    assert text in answer.render(doubted)
    words = Page(page.render(doubted)).words
    assert text in words and "the generator sent late" in words


def test_littles_law_is_checked_where_the_slo_was_met() -> None:
    def broken(one: Row) -> Row:
        return replace(one, little=replace(one.little, in_flight=2.0)) if one.little else one

    found = capacity()
    assert re.search(r"in (\d+) of \1 steps", answer.little_text(found))
    growing = replace(found, rows=tuple(map(broken, found.rows)))
    assert re.search(r"in 0 of \d+ steps", answer.little_text(growing))


def test_the_page_is_self_contained_and_well_formed() -> None:
    made = Page(page.render(rich()))
    assert [link for link in made.links if not link.startswith(("data:", "#"))] == []
    assert made.open == []
    assert len(made.ids) == len(set(made.ids))
    assert "script" not in made.tags


def test_the_page_shows_every_panel() -> None:
    made = Page(page.render(rich()))
    assert made.tags.count("svg") == 7
    for words in (
        "2 instances of centerface-320 hold",
        "held 5 times in a row",
        "Scaling, with each point's distance from the line",
        "What a batch costs",
        "Overload and recovery",
        "An instance is killed",
        "gpu1",
        "0123456789ab",
        "Test CPU",
    ):
        assert words in made.words, words


def test_panels_without_data_are_left_out() -> None:
    quiet = replace(capacity(), timelines=())
    assert Page(page.render(quiet)).tags.count("svg") == 4


def test_no_token_colour_is_left_in_the_plots() -> None:
    assert not re.findall(r"#000[0-9a-f]{3}\b", page.render(rich()))


def test_figures_at_the_capacity_are_not_those_of_a_faster_step_that_held_by_luck() -> None:
    found = capacity()
    lucky = replace(found, rows=(*found.rows, row(90, 1.0, p95_ms=99)))
    assert answer.row_at(lucky).asked_fps <= found.slo.estimate
    assert answer.row_at(lucky) == answer.row_at(found)


def test_growth_that_was_not_measured_is_not_given_as_zero_contention() -> None:
    words = Page(page.render(capacity())).words
    assert "that it grows so is assumed" in words
    assert "contention 0.000" not in words
    assert "+0.0 %" not in words


def test_a_fleet_elsewhere_had_its_machine_to_itself() -> None:
    source = replace(provenance(), url="http://10.0.0.7:8080")
    assert "the load came from another machine" in answer.render(capacity(source=source))


def test_a_rate_that_never_held_every_time_is_in_the_headline() -> None:
    assert answer.headline(replace(capacity(), verified_fps=None)).endswith("; no rate held every time.")


def test_a_law_that_was_looked_at_nowhere_is_not_said_to_hold() -> None:
    found = capacity()
    silent = replace(found, rows=tuple(replace(one, in_time=0.0) for one in found.rows))
    assert answer.little_text(silent).endswith("so Little's law was not looked at")


@pytest.mark.parametrize(("part", "warns"), [(0.0, True), (0.05, True), (0.9, False), (None, False)])
def test_a_clip_in_which_nothing_is_found_is_named_on_the_page(part: float | None, warns: bool) -> None:
    words = Page(page.render(capacity(source=replace(provenance(), detecting=part)))).words
    assert ("that answers stay the same proves little" in words) is warns


def test_a_simulated_accelerator_is_labelled() -> None:
    source = provenance(engine={"kind": "simulated", "note": "stand-in accelerator"})
    assert "These figures test the kit, not a model" in Page(page.render(capacity(source=source))).words


def test_a_worse_fleet_says_so_at_the_top() -> None:
    base = replace(capacity(), slo=Interval(98, 100, 102))
    words = Page(page.render(capacity(), gate.compare(capacity(), base))).words
    assert "Worse than the baseline" in words


def test_foreign_text_is_escaped() -> None:
    text = page.render(capacity(source=provenance(model={"name": "<b>x</b>"})))
    assert "<b>x</b>" not in text
