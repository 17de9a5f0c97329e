"""A siege is met only if nothing was lost outside the windows that are stated, and its section shows what was."""

from dataclasses import replace

from chaos.load import Sample
from chaos.machine import MIB
from chaos.siege.__main__ import P99_LIMIT_MS, WINDOW_S, Kill, Siege, to_section
from chaos.siege.watch import MEMORY_BYTES, Reading

CALM = Reading(99.0, {"cpu0": 100 * MIB}, {"cpu0": 200 * MIB}, 10 * MIB, 0)
RIGHT = Sample(100.0, 30.0, "right")
SIEGE = Siege("m.onnx", 2, 15, 4, 20.0, 100.0, (RIGHT,), (), (CALM, CALM), {"413": 2, "hung up": 7}, ())


def lost_after(kill: str, seconds: float, outcome: str = "failed") -> Siege:
    lost = Sample(200.0 + seconds, 5.0, outcome, "502")  # type: ignore[arg-type]
    return replace(SIEGE, samples=(RIGHT, lost), kills=(Kill(200.0, kill),))


def test_what_an_nginx_worker_had_in_hand_may_be_lost_and_nothing_else() -> None:
    assert SIEGE.met
    assert lost_after("nginx worker", WINDOW_S).met
    assert not lost_after("nginx worker", WINDOW_S + 0.1).met
    assert not lost_after("gunicorn worker", 0).met
    assert not lost_after("nginx worker", 0, "wrong").met


def test_slow_answers_memory_and_whatever_else_did_not_hold_are_told() -> None:
    slow = replace(SIEGE, samples=(Sample(100.0, P99_LIMIT_MS, "right"),))
    large = replace(SIEGE, readings=(CALM, replace(CALM, peaks={"cpu0": MEMORY_BYTES + MIB})))
    left = replace(SIEGE, problems=("`down` left port 8080",))
    assert [made.broken for made in (slow, large, left)] == [
        ("p99 1000 ms, over 1000",),
        ("an instance's memory: 701 MiB, over 700",),
        ("`down` left port 8080",),
    ]
    assert replace(SIEGE, samples=()).broken


def test_the_section_shows_what_was_lost_and_how_much_was_held() -> None:
    text = to_section(lost_after("nginx worker", 0.5), "now.")
    assert "lost 1 (1 x 502),\n  0 of them not within 1 s of an nginx worker's death" in text
    assert "now. Everything held that is expected." in text and "7 x hung up, 2 x 413" in text
    assert "| -1 | 100 (200) | 10 | 0 |" in text
    assert "**Not everything held:** 1 of the cameras' requests lost." in to_section(lost_after("x", 0), "now.")
