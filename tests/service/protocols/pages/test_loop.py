"""The loop between a source and the service, driven by a source and a service whose pace the test decides."""

import pytest

from tests.service.protocols.pages.page import Page

# A source whose frames are numbers, and a service that answers when the test says so.
BENCH = """
window.bench = (async () => {
  const folder = document.querySelector('script').src.replace('page.js', '');
  const { Loop } = await import(folder + 'loop.js');
  const { Latch } = await import(folder + 'latch.js');
  const { Failure } = await import(folder + 'failure.js');
  const bench = { now: 0, sent: [], shown: [], released: [], failures: [], pauses: 0, Failure };
  const changed = new Latch();
  bench.frame = (number) => { bench.now = number; changed.set(); };
  const source = {
    changed,
    nudge: () => changed.set(),
    pause: () => { bench.pauses += 1; },
    grab: async () => {
      const number = bench.now;
      return { blob: number, release: () => bench.released.push(number) };
    },
  };
  bench.loop = new Loop(source, {
    send: (number, signal) => new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason));
      bench.sent.push({ number, resolve, reject });
    }),
    show: (frame) => bench.shown.push(frame.blob),
    fail: (failure) => bench.failures.push(failure),
  });
  bench.ended = bench.loop.run().then(() => { bench.isEnded = true; });
  bench.settle = () => new Promise((resolve) => setTimeout(resolve, 20));
  return bench;
})();
"""


@pytest.fixture
def bench(page: Page) -> Page:
    page.evaluate(BENCH + "0")
    return page


def run(bench: Page, *steps: str, then: str) -> object:
    """Runs steps, each after the loop has done what it can, and gives a value at the end."""
    lines = "".join(f"{step}; await bench.settle();" for step in steps)
    return bench.evaluate(f"(async () => {{ const bench = await window.bench; {lines} return {then}; }})()")


SENT = "bench.sent.map((sent) => sent.number)"


def test_two_frames_travel_at_most_and_the_next_is_the_newest(bench: Page) -> None:
    feed = [f"bench.frame({number})" for number in range(1, 7)]
    assert run(bench, *feed, then=SENT) == [1, 2]
    assert run(bench, "bench.sent[0].resolve({})", then=SENT) == [1, 2, 6]
    assert run(bench, "bench.sent[1].resolve({})", then=SENT) == [1, 2, 6]


def test_an_answer_that_was_overtaken_is_not_shown(bench: Page) -> None:
    shown = run(
        bench,
        "bench.frame(1)",
        "bench.frame(2)",
        "bench.sent[1].resolve({})",
        "bench.sent[0].resolve({})",
        then="[bench.shown, bench.released]",
    )
    assert shown == [[2], [1]]


def test_holding_gives_up_what_travels_and_takes_nothing_new(bench: Page) -> None:
    held = run(bench, "bench.frame(1)", "bench.loop.hold()", "bench.frame(2)", then=f"[{SENT}, bench.released]")
    assert held == [[1], [1]]
    assert run(bench, "bench.loop.release()", then=f"[{SENT}, bench.failures]") == [[1, 2], []]


def test_a_closed_loop_ends(bench: Page) -> None:
    ended = run(bench, "bench.frame(1)", "bench.loop.close()", then="[bench.isEnded, bench.released, bench.failures]")
    assert ended == [True, [1], []]


def test_what_may_pass_is_tried_again_but_not_at_once(bench: Page) -> None:
    fail = "bench.sent[{}].reject(new bench.Failure('busy', '', {{retry: true, retryAfterS: 0.4}}))"
    assert run(bench, "bench.frame(1)", fail.format(0), then=SENT) == [1]
    assert run(bench, "await new Promise((resolve) => setTimeout(resolve, 450))", then=SENT) == [1, 1]
    assert run(bench, "bench.sent[1].resolve({})", then="[bench.shown, bench.pauses]") == [[1], 0]


def test_waits_grow_until_an_answer_comes(bench: Page) -> None:
    waits = run(
        bench,
        "bench.frame(1)",
        "bench.frame(2)",
        "for (const sent of bench.sent) sent.reject(new bench.Failure('down', '', {retry: true}))",
        then="bench.failures.map((failure) => failure.waitS)",
    )
    assert waits == [1, 2]


def test_what_cannot_pass_rests_the_source(bench: Page) -> None:
    rested = run(
        bench,
        "bench.frame(1)",
        "bench.sent[0].reject(new bench.Failure('unusable', ''))",
        then="[bench.pauses, bench.failures.map((failure) => failure.title), bench.released]",
    )
    assert rested == [1, ["unusable"], [1]]
    assert run(bench, "bench.frame(2)", then=SENT) == [1, 2]
