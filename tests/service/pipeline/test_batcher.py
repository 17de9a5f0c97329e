"""The batcher: work-conserving, bounded, and every frame gets its own answer."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from service.admission.client_gone import never_gone
from service.errors import (
    DeadlineExceeded,
    EngineFault,
    InferenceFailed,
    MalformedBody,
    OutOfMemory,
    Overloaded,
    StartError,
)
from service.pipeline.batch_queue import BatchQueue
from service.pipeline.batcher import Batcher, Inferred
from service.safeguards.in_work import DIGEST_BYTES, Doubt, InWork, Mark
from tests.instance import wait_until
from tests.service.fakes import SIZE, PipelinedScriptedEngine, ScriptedEngine

FAR = 60.0


class Bench:
    """A started batcher over a scripted engine, and threads that send frames to it."""

    def __init__(self, engine: ScriptedEngine, **options: float) -> None:
        self.engine = engine
        self.faults: list[EngineFault] = []
        self.queue = BatchQueue(int(options.pop("queue_size", 16)), options.pop("max_wait_s", 0.0), time.monotonic)
        self.batcher = Batcher(lambda: engine, self.queue, on_fault=self.faults.append, **options)
        self.pool = ThreadPoolExecutor(64)

    def infer(
        self, mark: tuple[int, int, int], timeout_s: float = FAR, gone: Callable[[], bool] = never_gone
    ) -> Inferred[None]:
        def fill(slot: np.ndarray) -> None:
            slot[:] = mark

        with self.queue.admit():
            return self.batcher.wait(self.batcher.submit(fill, time.monotonic() + timeout_s, gone))

    def send(
        self, mark: tuple[int, int, int], timeout_s: float = FAR, gone: Callable[[], bool] = never_gone
    ) -> "Future[Inferred[None]]":
        return self.pool.submit(self.infer, mark, timeout_s, gone)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        wait_until("the awaited state", condition)


@contextmanager
def started(engine: ScriptedEngine, **options: float) -> Iterator[Bench]:
    bench = Bench(engine, **options)
    bench.batcher.start()
    try:
        yield bench
    finally:
        engine.gate.set()
        bench.batcher.stop()
        bench.pool.shutdown()


def occupy(bench: Bench) -> "Future[Inferred[None]]":
    """Puts one frame into the engine and keeps it there."""
    bench.engine.gate.clear()
    first = bench.send((1, 1, 1))
    assert bench.engine.busy.wait(FAR)
    return first


def test_what_waits_while_the_engine_is_busy_goes_in_one_batch() -> None:
    with started(ScriptedEngine(max_batch=4)) as bench:
        first = occupy(bench)
        rest = [bench.send((n, n, n)) for n in range(2, 7)]
        bench.wait_for(lambda: bench.queue.admitted == 6)
        bench.wait_for(lambda: bench.queue.depth == 5)
        bench.engine.gate.set()
        sizes = [answer.result(FAR).batch_size for answer in [first, *rest]]
    assert bench.engine.batches == [1, 4, 1]
    assert sorted(sizes) == [1, 1, 4, 4, 4, 4]


def test_an_idle_engine_takes_a_lone_frame_at_once_by_default() -> None:
    with started(ScriptedEngine()) as bench:
        bench.infer((1, 2, 3))
    assert bench.engine.batches == [1]


def test_with_max_wait_an_idle_engine_gathers_a_full_batch() -> None:
    with started(ScriptedEngine(max_batch=3), max_wait_s=20.0) as bench:
        answers = [bench.send((n, n, n)) for n in range(3)]
        for answer in answers:
            answer.result(FAR)
    assert bench.engine.batches == [3]


def test_concurrent_requests_each_get_their_own_answer() -> None:
    marks = [(n % 251, n // 251, n % 2) for n in range(600)]
    with started(ScriptedEngine(max_batch=4), queue_size=64) as bench:
        answers = [bench.send(mark) for mark in marks]
        found = [tuple(int(v) for v in answer.result(FAR).candidates[0][[2, 3, 5]]) for answer in answers]
    assert found == marks
    assert sum(bench.engine.batches) == 600


def test_a_full_instance_refuses_at_once_and_serves_what_it_admitted() -> None:
    with started(ScriptedEngine(), queue_size=2) as bench:
        first = occupy(bench)
        second = bench.send((2, 2, 2))
        bench.wait_for(lambda: bench.queue.admitted == 2)
        with pytest.raises(Overloaded):
            bench.infer((3, 3, 3))
        bench.engine.gate.set()
        assert [first.result(FAR).candidates[0][2], second.result(FAR).candidates[0][2]] == [1, 2]
        assert bench.infer((4, 4, 4)).candidates[0][2] == 4
    assert bench.queue.shed == 1


def test_a_frame_past_its_deadline_is_dropped_and_its_neighbours_are_not() -> None:
    with started(ScriptedEngine(max_batch=4)) as bench:
        occupy(bench)
        late = bench.send((9, 9, 9), timeout_s=0.05)
        neighbour = bench.send((8, 8, 8))
        with pytest.raises(DeadlineExceeded):
            late.result(FAR)
        bench.engine.gate.set()
        assert neighbour.result(FAR).candidates[0][2] == 8
    assert (bench.batcher.counts.expired, bench.engine.batches) == (1, [1, 1])


def test_given_up_frames_take_no_room_from_others_behind_a_slow_batch() -> None:
    with started(ScriptedEngine(max_batch=2), queue_size=4) as bench:
        occupy(bench)
        for _ in range(12):
            with pytest.raises(DeadlineExceeded):
                bench.infer((9, 9, 9), timeout_s=0.01)
        assert bench.queue.depth <= 6
        bench.engine.gate.set()
        bench.wait_for(lambda: bench.queue.depth == 0)
        assert bench.infer((5, 5, 5)).candidates[0][2] == 5


def test_a_picture_that_cannot_be_filled_in_fails_alone() -> None:
    def fail(slot: np.ndarray) -> None:
        raise MalformedBody("broken")

    with started(ScriptedEngine(max_batch=4)) as bench:
        occupy(bench)
        with bench.queue.admit(), pytest.raises(MalformedBody):
            bench.batcher.submit(fail, time.monotonic() + FAR)
        good = bench.send((7, 7, 7))
        bench.wait_for(lambda: bench.queue.depth == 2)
        bench.engine.gate.set()
        assert good.result(FAR).candidates[0][2] == 7
    assert bench.engine.batches == [1, 1]


def test_a_refused_batch_fails_its_frames_and_the_next_one_works() -> None:
    engine = ScriptedEngine()
    engine.errors = [InferenceFailed("no"), None]
    with started(engine) as bench:
        with pytest.raises(InferenceFailed):
            bench.infer((1, 1, 1))
        assert bench.infer((2, 2, 2)).candidates[0][2] == 2
    assert bench.faults == []


@pytest.mark.parametrize("error", [EngineFault("gone"), RuntimeError("a bug")], ids=["fault", "bug"])
def test_an_engine_beyond_repair_is_reported(error: Exception) -> None:
    engine = ScriptedEngine()
    engine.errors = [error]
    with started(engine) as bench:
        with pytest.raises((EngineFault, DeadlineExceeded)):
            bench.infer((1, 1, 1), timeout_s=3)  # it has to be in the engine by then
        bench.wait_for(lambda: bool(bench.faults))
    assert str(error) in str(bench.faults[0])


def test_the_engine_is_opened_used_and_closed_by_one_thread() -> None:
    with started(ScriptedEngine()) as bench:
        bench.infer((1, 1, 1))
    assert (bench.engine.threads, bench.engine.closed) == ({"batcher"}, True)


def test_stopping_answers_what_is_queued_and_refuses_what_comes_later() -> None:
    engine = ScriptedEngine(max_batch=1)
    with started(engine) as bench:
        first = occupy(bench)
        second = bench.send((2, 2, 2))
        bench.wait_for(lambda: bench.queue.depth == 1)
        stopper = threading.Thread(target=bench.batcher.stop)
        stopper.start()
        bench.wait_for(lambda: bench.queue.stopping)
        with pytest.raises(Overloaded):
            bench.infer((3, 3, 3))
        engine.gate.set()
        stopper.join(FAR)
        assert [first.result(FAR).candidates[0][2], second.result(FAR).candidates[0][2]] == [1, 2]


def test_an_engine_that_cannot_be_opened_is_the_starters_error() -> None:
    def fail() -> ScriptedEngine:
        raise StartError("no model")

    batcher = Batcher(fail, BatchQueue(1, 0, time.monotonic), on_fault=lambda fault: None)
    with pytest.raises(StartError, match="no model"):
        batcher.start()


def test_warm_up_refuses_an_engine_that_breaks_the_contract() -> None:
    class Misshapen(ScriptedEngine):
        def infer(self, frames: np.ndarray) -> np.ndarray:
            return np.zeros((len(frames), 7), np.float32)

    batcher = Batcher(Misshapen, BatchQueue(1, 0, time.monotonic), on_fault=lambda fault: None)
    with pytest.raises(StartError, match=r"\[n, k, 6\]"):
        batcher.start()


def test_slots_have_the_models_size() -> None:
    shapes = []
    with started(ScriptedEngine()) as bench, bench.queue.admit():
        bench.batcher.wait(bench.batcher.submit(lambda slot: shapes.append(slot.shape), time.monotonic() + FAR))
    assert shapes == [(SIZE, SIZE, 3)]


def test_a_frame_whose_client_hung_up_is_never_inferred() -> None:
    with started(ScriptedEngine(max_batch=4)) as bench:
        occupy(bench)
        abandoned = bench.send((9, 9, 9), gone=lambda: True)
        neighbour = bench.send((8, 8, 8))
        bench.wait_for(lambda: bench.queue.depth == 2)
        bench.engine.gate.set()
        assert neighbour.result(FAR).candidates[0][2] == 8
        with pytest.raises(DeadlineExceeded):  # long before its deadline
            abandoned.result(FAR / 2)
    assert (bench.batcher.counts.expired, bench.engine.batches) == (1, [1, 1])


def test_a_batch_that_is_refused_is_run_again_frame_by_frame() -> None:
    engine = ScriptedEngine(max_batch=4)
    with started(engine) as bench:
        first = occupy(bench)
        # The batch of three, then its frames one by one; the second frame is the one at fault.
        engine.errors = [None, InferenceFailed("batch"), None, InferenceFailed("bad frame"), None]
        answers = []
        for n in (2, 3, 4):
            answers.append(bench.send((n, n, n)))
            bench.wait_for(lambda n=n: bench.queue.depth == n - 1)
        engine.gate.set()
        first.result(FAR)
        assert [answers[0].result(FAR).candidates[0][2], answers[2].result(FAR).candidates[0][2]] == [2, 4]
        with pytest.raises(InferenceFailed, match="bad frame"):
            answers[1].result(FAR)
    assert (engine.batches, bench.faults) == ([1, 3, 1, 1, 1], [])


def test_an_engine_that_refuses_everything_is_a_fault_and_answers_nobody_with_an_error() -> None:
    engine = ScriptedEngine()
    with started(engine) as bench:
        engine.dead = True
        waiting = bench.send((1, 1, 1), timeout_s=3)  # it has to be in the engine by then
        bench.wait_for(lambda: bool(bench.faults))
        with pytest.raises(DeadlineExceeded):
            waiting.result(FAR)
    assert "self-test: the engine refused a frame it has answered before" in str(bench.faults[0])


def test_a_frame_that_found_no_memory_is_tried_once_more() -> None:
    engine = ScriptedEngine()
    engine.errors = [OutOfMemory("full"), None, OutOfMemory("full"), OutOfMemory("still full")]
    with started(engine) as bench:
        assert bench.infer((2, 2, 2)).candidates[0][2] == 2
        with pytest.raises(OutOfMemory, match="still full"):
            bench.infer((3, 3, 3))
    assert bench.faults == []


def test_an_idle_engine_is_tested_again_and_again() -> None:
    with started(ScriptedEngine(), self_test_every_s=0.01) as bench:
        bench.wait_for(lambda: bench.batcher.counts.self_tests >= 3)
        assert bench.infer((5, 5, 5)).candidates[0][2] == 5
    assert bench.faults == []


def test_an_idle_engine_that_starts_to_answer_garbage_is_reported() -> None:
    engine = ScriptedEngine()
    with started(engine, self_test_every_s=0.01) as bench:
        engine.garbled = True
        bench.wait_for(lambda: bool(bench.faults))
    assert "answered a frame differently" in str(bench.faults[0])


@pytest.mark.parametrize("kind", [ScriptedEngine, PipelinedScriptedEngine], ids=["one at a time", "two in flight"])
def test_every_inference_is_watched(kind: type[ScriptedEngine]) -> None:
    engine = kind()
    depth, seen = 0, []

    @contextmanager
    def guard() -> Iterator[None]:
        nonlocal depth
        assert depth == 0, "one watch would call off the other"
        depth += 1
        before = len(engine.batches)
        yield
        depth -= 1
        seen.append(len(engine.batches) - before)

    with started(engine, guard=guard) as bench:  # type: ignore[arg-type]
        bench.infer((1, 1, 1))
        bench.infer((2, 2, 2))
    assert sum(seen) == len(engine.batches) == 2


def fill_up(bench: Bench, sizes: list[int]) -> "list[Future[Inferred[None]]]":
    """Queues this many frames behind a busy engine, one after the other, and written; marks count up from 2."""
    answers = []
    for waiting, mark in enumerate(range(2, 2 + sum(sizes)), start=1):
        answers.append(bench.send((mark, mark, mark)))
        bench.wait_for(lambda waiting=waiting: written(bench.queue) == waiting)
    return answers


def written(queue: BatchQueue) -> int:
    """Frames that wait with their slot written."""
    return sum(item.ready for batch in tuple(queue._waiting) for item in batch.items)


def test_a_second_batch_is_begun_early_when_it_is_full() -> None:
    engine = PipelinedScriptedEngine(max_batch=2)
    with started(engine) as bench:
        first = occupy(bench)
        rest = fill_up(bench, [2, 2])
        engine.gate.set()
        found = [int(answer.result(FAR).candidates[0][2]) for answer in [first, *rest]]
    assert found == [1, 2, 3, 4, 5]
    assert engine.log == ["begin 1", "end 1", "begin 2", "begin 2", "end 2", "end 2"]


def test_a_batch_that_could_still_grow_is_not_begun_early() -> None:
    engine = PipelinedScriptedEngine(max_batch=3)
    with started(engine) as bench:
        first = occupy(bench)
        rest = fill_up(bench, [3, 2])
        engine.gate.set()
        for answer in [first, *rest]:
            answer.result(FAR)
    assert engine.log == ["begin 1", "end 1", "begin 3", "end 3", "begin 2", "end 2"]


def test_a_full_batch_with_a_slot_still_being_written_keeps_nobody_waiting() -> None:
    engine, written = PipelinedScriptedEngine(max_batch=2), threading.Event()
    with started(engine) as bench:
        first = occupy(bench)
        answers = fill_up(bench, [3])
        slow = bench.pool.submit(submit_slowly, bench, written)
        bench.wait_for(lambda: bench.queue.depth == 4)
        engine.gate.set()
        for answer in [first, *answers[:2]]:  # answered while the fourth frame is still being written
            answer.result(FAR)
        written.set()
        answers[2].result(FAR)
        slow.result(FAR)
    assert engine.log == ["begin 1", "end 1", "begin 2", "end 2", "begin 2", "end 2"]


def submit_slowly(bench: Bench, written: threading.Event) -> "Inferred[bool]":
    with bench.queue.admit():
        return bench.batcher.wait(bench.batcher.submit(lambda slot: written.wait(FAR), time.monotonic() + FAR))


def test_batches_in_flight_never_mix_up_answers() -> None:
    marks = [(n % 251, n // 251, n % 2) for n in range(600)]
    with started(PipelinedScriptedEngine(max_batch=4), queue_size=64) as bench:
        answers = [bench.send(mark) for mark in marks]
        found = [tuple(int(v) for v in answer.result(FAR).candidates[0][[2, 3, 5]]) for answer in answers]
    assert found == marks
    assert (bench.batcher.counts.frames, sum(bench.engine.batches)) == (600, 600)


@pytest.mark.parametrize("moment", ["begin", "result"])
def test_a_batch_refused_in_flight_is_run_again_frame_by_frame_and_the_next_one_is_not(moment: str) -> None:
    engine = PipelinedScriptedEngine(max_batch=2)
    with started(engine) as bench:
        first = occupy(bench)
        refused: list[Exception | None] = [InferenceFailed("batch")]
        if moment == "begin":
            engine.refusals, engine.errors = refused, [None, None, InferenceFailed("bad frame")]
        else:
            engine.errors = [None, *refused, None, InferenceFailed("bad frame")]
        good, bad, *others = fill_up(bench, [2, 2])
        engine.gate.set()
        assert [int(a.result(FAR).candidates[0][2]) for a in (first, good, *others)] == [1, 2, 4, 5]
        with pytest.raises(InferenceFailed, match="bad frame"):
            bad.result(FAR)
    assert bench.faults == []


def test_a_fault_with_two_batches_in_flight_is_reported_once() -> None:
    engine = PipelinedScriptedEngine(max_batch=1)
    with started(engine) as bench:
        first = occupy(bench)
        answers = [bench.send((n, n, n), timeout_s=5) for n in (2, 3)]
        bench.wait_for(lambda: bench.queue.depth == 2)
        engine.errors = [None, EngineFault("gone")]
        engine.gate.set()
        first.result(FAR)
        for answer in answers:
            with pytest.raises(DeadlineExceeded):
                answer.result(FAR)
    assert [str(fault) for fault in bench.faults] == ["gone"]


def test_stopping_answers_both_batches_in_flight() -> None:
    engine = PipelinedScriptedEngine(max_batch=1)
    with started(engine) as bench:
        first = occupy(bench)
        rest = fill_up(bench, [3])
        stopper = threading.Thread(target=bench.batcher.stop)
        stopper.start()
        bench.wait_for(lambda: bench.queue.stopping)
        engine.gate.set()
        stopper.join(FAR)
        assert [int(a.result(FAR).candidates[0][2]) for a in [first, *rest]] == [1, 2, 3, 4]
    assert (engine.closed, engine.threads) == (True, {"batcher"})


def test_with_two_in_flight_a_batch_nobody_waits_for_is_dropped() -> None:
    engine = PipelinedScriptedEngine(max_batch=1)
    with started(engine) as bench:
        occupy(bench)
        gone = bench.send((9, 9, 9), gone=lambda: True)
        bench.wait_for(lambda: bench.queue.depth == 1)
        last = bench.send((8, 8, 8))
        bench.wait_for(lambda: bench.queue.depth == 2)
        engine.gate.set()
        assert last.result(FAR).candidates[0][2] == 8
        with pytest.raises(DeadlineExceeded):  # long before its deadline
            gone.result(FAR / 2)
    assert (bench.batcher.counts.expired, engine.batches) == (1, [1, 1])


def test_an_idle_engine_that_takes_two_batches_is_tested_too() -> None:
    with started(PipelinedScriptedEngine(), self_test_every_s=0.01) as bench:
        bench.wait_for(lambda: bench.batcher.counts.self_tests >= 3)
        assert bench.infer((5, 5, 5)).candidates[0][2] == 5
    assert bench.faults == []


def test_an_engine_that_opens_but_cannot_answer_is_the_starters_error() -> None:
    class Broken(ScriptedEngine):
        def infer(self, frames: np.ndarray) -> np.ndarray:
            raise EngineFault("an illegal memory access was encountered")

    batcher = Batcher(Broken, BatchQueue(1, 0, time.monotonic), on_fault=lambda fault: None)
    with pytest.raises(StartError, match="could not answer: an illegal memory access"):
        batcher.start()


def marked(letter: bytes, *, alone: bool = False) -> Mark:
    return Mark(letter * DIGEST_BYTES, Doubt.OWN if alone else Doubt.NONE)


def send_marked(bench: Bench, mark: Mark, timeout_s: float = FAR) -> "Future[Inferred[None]]":
    def ask() -> Inferred[None]:
        value, deadline = mark.digest[0], time.monotonic() + timeout_s
        with bench.queue.admit():
            return bench.batcher.wait(bench.batcher.submit(lambda slot: slot.fill(value), deadline, mark=mark))

    return bench.pool.submit(ask)


class Watched:
    """What is in work at each inference of an engine, by the letters of the digests."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self.in_work, self.engine, self.seen = InWork(), engine, list[str]()
        self._infer = engine.infer
        engine.infer = self.infer  # type: ignore[method-assign]

    def infer(self, frames: np.ndarray) -> np.ndarray:
        self.seen.append(self.letters())
        return self._infer(frames)

    def letters(self) -> str:
        return "".join(sorted(digest[:1].decode() for digest in self.in_work.left()))


@pytest.mark.parametrize("kind", [ScriptedEngine, PipelinedScriptedEngine], ids=["one at a time", "two in flight"])
def test_suspects_run_alone_and_their_neighbours_together(kind: type[ScriptedEngine]) -> None:
    watched = Watched(kind())
    with started(watched.engine, in_work=watched.in_work) as bench:  # type: ignore[arg-type]
        first = occupy(bench)
        watched.seen.clear()
        rest = []
        for mark in (marked(b"a"), marked(b"b", alone=True), marked(b"c"), marked(b"d", alone=True)):
            rest.append(send_marked(bench, mark))
            bench.wait_for(lambda: bench.queue.depth == len(rest))
        assert watched.letters() == "", "what waits is not in work"
        bench.engine.gate.set()
        found = [int(answer.result(FAR).candidates[0][2]) for answer in [first, *rest]]
    assert found == [1, *b"abcd"]
    assert watched.seen[:3] == ["b", "d", "ac"]
    assert watched.letters() == ""


def test_of_a_batch_that_was_refused_only_the_frame_that_is_run_again_is_in_work() -> None:
    watched = Watched(ScriptedEngine())
    with started(watched.engine, in_work=watched.in_work) as bench:  # type: ignore[arg-type]
        occupy(bench)
        watched.seen.clear()
        rest = [send_marked(bench, marked(letter)) for letter in (b"a", b"b")]
        bench.wait_for(lambda: bench.queue.depth == 2)
        watched.engine.errors = [None, InferenceFailed("refused")]
        bench.engine.gate.set()
        assert [answer.result(FAR).batch_size for answer in rest] == [1, 1]
    assert sorted(watched.seen[:3]) == ["a", "ab", "b"]
    assert watched.letters() == ""


def test_what_the_engine_broke_down_on_stays_in_work_until_the_process_ends() -> None:
    watched = Watched(ScriptedEngine())
    with started(watched.engine, in_work=watched.in_work) as bench:  # type: ignore[arg-type]
        watched.engine.errors = [EngineFault("broken")]
        send_marked(bench, marked(b"a"), timeout_s=3)  # it has to be in the engine by then
        bench.wait_for(lambda: len(bench.faults) == 1)
        assert watched.letters() == "a"


def test_a_suspect_that_others_leave_no_room_for_is_shed_and_the_engine_goes_on() -> None:
    watched = Watched(ScriptedEngine())
    watched.in_work = InWork(alone_s=0.01)
    options = {"in_work": watched.in_work}
    with started(watched.engine, **options) as bench, watched.in_work.decoding(marked(b"z")):  # type: ignore[arg-type]
        with pytest.raises(Overloaded):
            send_marked(bench, marked(b"a", alone=True)).result(FAR)
        assert send_marked(bench, marked(b"b")).result(FAR).batch_size == 1
