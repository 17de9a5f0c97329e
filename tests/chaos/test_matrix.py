"""The matrix promises nothing it does not name, and its report shows every row."""

from chaos.machine import Footprint
from chaos.matrix import MATRIX, TOGETHER_S, pairs
from chaos.observation import Observation
from chaos.report import siege_of, to_markdown, with_siege
from chaos.run import Campaign


def row(fault: str, lost: int) -> Observation:
    print_ = Footprint(2**20, 10)
    return Observation(fault, 100, lost, 0, 0, 0, 9.0, 9.0, 9.0, {}, ("prober",), 1.5, print_, print_, allowed=0)


def campaign(*rows: Observation, left: tuple[str, ...] = ()) -> Campaign:
    before = Footprint(100, 1)
    return Campaign("simulated:", 2, 0.7, 10.0, 20.0, rows, rows, before, before, left)


def text(made: Campaign) -> str:
    return to_markdown([made], "2 cores, 2026-01-01, seed 1.")


def test_names_are_unique_and_every_loss_has_its_reason() -> None:
    assert len({fault.name for fault in MATRIX}) == len(MATRIX)
    assert [fault.name for fault in MATRIX if fault.lost_s and not fault.bound] == []


def test_nothing_that_may_lose_requests_is_drawn_at_random() -> None:
    drawn = [fault for fault in MATRIX if fault.at_random]
    assert len(drawn) >= 5
    assert [fault.name for fault in drawn if fault.lost_s] == []


def test_two_faults_may_cost_only_where_they_leave_no_instance_or_nobody_to_mend_one() -> None:
    drawn = pairs([fault for fault in MATRIX if fault.at_random])
    bounds = {frozenset((pair.first.name, pair.second.name)): pair.lost_s for pair in drawn}
    worker, stopped, hang_ups = "kill -9 of a gunicorn worker", "SIGSTOP of an instance", "clients that hang up"
    master, reviver = "kill -9 of the nginx master", "kill -9 of the reviver"
    assert bounds[frozenset((worker, stopped))] == bounds[frozenset((stopped, reviver))] == TOGETHER_S
    assert {bounds[frozenset(two)] for two in ((worker, master), (worker, reviver), (hang_ups, stopped))} == {0.0}


def test_the_report_names_both_faults_of_a_pair() -> None:
    (pair, *_) = pairs(MATRIX)
    made = campaign(row(pair.name, 0))
    assert f"- {pair.first.name} + {pair.second.name}: 100 sent, 0 lost\n" in text(made)


def test_the_page_keeps_the_section_that_a_siege_has_written() -> None:
    page = with_siege(text(campaign(row("x", 0))), "## A mixed attack\n\nOld.\n")
    assert siege_of(with_siege(page, "## A mixed attack\n\nNew.\n")) == "## A mixed attack\n\nNew.\n"
    assert to_markdown([], "now.", siege_of(page)).endswith("\n\n## A mixed attack\n\nOld.\n")


def test_the_report_has_a_row_for_every_fault_and_says_whether_all_held() -> None:
    good = text(campaign(*(row(fault.name, 0) for fault in MATRIX)))
    assert [fault.name for fault in MATRIX if f"| {fault.name} | 100 | 0 |" not in good] == []
    assert "Everything held that is expected." in good
    bad = text(campaign(row(MATRIX[0].name, 1)))
    assert "**Not everything held.**" in bad and "| **no** |" in bad


def test_what_is_left_behind_and_memory_that_grows_are_failures() -> None:
    assert campaign(row("x", 0)).met
    assert not campaign(row("x", 0), left=("port 8080",)).met
    grown = Campaign("m", 2, 0.7, 1.0, 1.0, (), (), Footprint(100, 1), Footprint(121, 1), ())
    assert not grown.met
