"""What a request holds, and that it is given back: pictures of a form one by one, errors without their frames."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import cv2
import numpy as np
import pytest

from service.admission.client_gone import never_gone
from service.admission.ledger import Ask, Ledger
from service.admission.pool import Part, Pool
from service.admission.visit import SPARE_BODY_BYTES, SPARE_PIXEL_BYTES, make_pools
from service.errors import DeadlineExceeded, ImageTooLarge, MalformedBody, ServiceError, forget
from service.pipeline.boxes import Selection
from service.pipeline.detector import Detections, Detector, Wish
from service.settings import Settings
from tests.service.fakes import ScriptedEngine

PICTURE = cv2.imencode(".png", np.zeros((40, 40, 3), np.uint8))[1].tobytes()
# Decoding it takes a lane.
LARGE = cv2.imencode(".png", np.zeros((2000, 2000, 3), np.uint8))[1].tobytes()
SELECTION = Selection(conf=0.3, iou=0.4)


@pytest.fixture
def detector() -> Iterator[Detector]:
    detector = Detector(Settings(queue_size=8), open_engine=ScriptedEngine)
    detector.start()
    yield detector
    detector.batcher.stop()


def detect(
    detector: Detector,
    pictures: list[bytes],
    *,
    timeout_ms: float = 60_000,
    gone: Callable[[], bool] = never_gone,
    draw: bool = False,
) -> list[Detections | ServiceError]:
    with detector.visiting("", timeout_ms, gone) as visit:
        return detector.detect(pictures, Wish(SELECTION, draw=draw), visit)


def test_nothing_more_of_a_form_is_decoded_once_its_client_has_gone(detector: Detector) -> None:
    found = detect(detector, [LARGE] * 4, gone=lambda: True)
    assert [type(outcome) for outcome in found] == [DeadlineExceeded] * 4
    assert detector.pools.pixels.ledger.used_s("") == 0
    found = detect(detector, [LARGE] * 4)
    assert [type(outcome) for outcome in found] == [Detections] * 4
    assert detector.pools.pixels.ledger.used_s("") > 0 == detector.pools.pixels.ledger.held


def test_small_pictures_are_not_decoded_for_nobody_either(detector: Detector) -> None:
    found = detect(detector, [PICTURE] * 4, gone=lambda: True)
    assert [type(outcome) for outcome in found] == [DeadlineExceeded] * 4
    assert detector.batcher.counts.expired == 0  # none came as far as the engine


def test_nothing_of_a_form_is_decoded_behind_its_deadline(detector: Detector) -> None:
    found = detect(detector, [PICTURE] * 4, timeout_ms=0.0)
    assert [type(outcome) for outcome in found] == [DeadlineExceeded] * 4
    assert detector.pools.pixels.ledger.used_s("") == 0


def test_who_was_let_in_is_answered_though_others_came_since(detector: Detector) -> None:
    with ExitStack() as visits:
        mine = [visits.enter_context(detector.visiting("mine", 60_000, never_gone)) for _ in range(8)]
        for other in ("one", "two"):
            visits.enter_context(detector.visiting(other, 60_000, never_gone))
        (found,) = detector.detect([PICTURE], Wish(SELECTION), mine[0])
    assert isinstance(found, Detections)


def test_frames_are_kept_only_where_they_are_drawn(detector: Detector) -> None:
    (plain,) = detect(detector, [PICTURE])
    (drawn,) = detect(detector, [PICTURE], draw=True)
    assert isinstance(plain, Detections) and isinstance(drawn, Detections)
    assert (plain.frame.width, plain.frame.pixels.size) == (40, 0)
    assert drawn.frame.pixels.shape == (40, 40, 3)


def test_pictures_are_taken_out_of_the_list_as_they_are_decoded(detector: Detector) -> None:
    pictures = [PICTURE, b"GIF89a", PICTURE]
    detect(detector, pictures)
    assert pictures == [b"", b"", b""]


class Held:
    """Stands for a picture."""


def test_an_error_that_is_answered_holds_nothing() -> None:
    held = Held()
    gone = weakref.ref(held)

    def fail(held: Held) -> None:
        try:
            raise ValueError(held)
        except ValueError as error:
            raise MalformedBody("broken") from error

    try:
        fail(held)
    except MalformedBody as error:
        kept = error
    forget(kept)
    gc.disable()
    try:
        del held
        assert gone() is None
    finally:
        gc.enable()


def test_the_pools_hold_the_largest_picture_and_body_of_the_settings_below_700_mb() -> None:
    pools = make_pools(Settings())
    pixels, bodies = pools.pixels.ledger, pools.bodies.ledger
    assert pixels.capacity >= 9 * Settings().max_pixels
    assert bodies.capacity >= Settings().max_body_bytes
    spare = SPARE_PIXEL_BYTES + SPARE_BODY_BYTES
    assert pixels.capacity + bodies.capacity + spare < 510_000_000  # an instance without work holds some 160


def test_what_never_fits_is_refused_at_once() -> None:
    pool = Pool(Ledger(100, 0, 2, time.monotonic))
    with pytest.raises(ImageTooLarge, match="101 bytes"):
        Part(pool, "a").claim(101)


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "late"])
def test_who_waits_gives_up_with_his_client_or_his_deadline(gone: bool) -> None:
    pool = Pool(Ledger(100, 0, 2, time.monotonic))
    pool.take(Ask("a", 100), float("inf"), lambda: False)
    looks = iter([False])
    deadline = float("inf") if gone else pool.clock() + 0.01
    with pytest.raises(DeadlineExceeded):
        Part(pool, "b", deadline, lambda: gone and next(looks, True)).claim(1)
    pool.give_back("a", 100, 0.0)
    with Part(pool, "c") as part:
        part.claim(100)
    assert pool.ledger.held == 0


def test_who_waits_is_woken_by_what_is_given_back() -> None:
    pool = Pool(Ledger(100, 0, 4, time.monotonic))
    part, got = Part(pool, "a"), threading.Event()
    part.claim(100)

    def wait() -> None:
        with Part(pool, "b") as waiting:
            waiting.claim(50)
            got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    part.keep(50)
    assert got.wait(30)
    thread.join()
    part.release()
    assert pool.ledger.held == 0
