"""The matrix end to end, on faults that take seconds: a real fleet, a real load, a real copy of the code."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from chaos.material import poison_picture, read_frames
from chaos.matrix import MATRIX, PLUS
from chaos.rehearsal import rehearsal
from chaos.run import Wish, campaign
from chaos.siege import __main__ as siege

pytestmark = pytest.mark.e2e

MODEL = "simulated:a_ms=10,b_ms=10"
QUICK = ("kill -9 of a gunicorn worker", "out of memory once", "a rendered configuration that is broken")


def test_single_faults_cost_no_good_request_and_nothing_is_left(tmp_path: Path, sample_video: Path) -> None:
    said: list[str] = []
    faults = [fault for fault in MATRIX if fault.name in QUICK]
    pictures, poison = read_frames(sample_video)[:5], poison_picture()
    # Long enough for one fault alone and two at once.
    wish = Wish(tmp_path, MODEL, 2, faults, share=0.2, minutes=0.25, seed=1, frames=pictures, poison=poison)
    done = campaign(wish, said.append)
    assert [(row.fault, row.lost, row.broken) for row in done.rows] == [(fault.name, 0, "") for fault in faults]
    assert "gunicorn master" in done.rows[0].noticed and "supervisord" in done.rows[0].noticed
    assert done.rows[1].noticed == ()
    assert [(row.fault, row.lost, row.broken) for row in done.random_rows[1:]] == [(PLUS.join(QUICK[:2]), 0, "")]
    assert (done.left, len(said)) == ((), 1 + len(QUICK) + len(done.random_rows))


def test_a_siege_counts_what_cameras_lose_and_what_instances_hold(
    tmp_path: Path, sample_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("CALM_S", 0.5), ("AFTERWARDS_S", 0.5), ("PAUSES_S", (0.5, 1.0))):
        monkeypatch.setattr(siege, name, seconds)
    options = siege.parse(("--minutes=0.1", "--clients=2", "--cameras=2", "--seed=1"))
    with rehearsal(tmp_path, MODEL, 2, cued=False) as fleet:
        done = siege.besiege(fleet, read_frames(sample_video)[:5], options)
    assert len(done.samples) >= 0.1 * 60 * done.rate
    assert done.kills and sum(done.ended.values()) > 0
    assert all(reading.resident.keys() <= {"cpu0", "cpu1"} for reading in done.readings)
    assert min(done.readings[0].peaks.values()) > 0 and done.readings[0].peaks.keys() == {"cpu0", "cpu1"}
    assert done.problems == []


def test_a_poison_picture_kills_three_instances_at_most_and_is_refused(tmp_path: Path) -> None:
    (fault,) = [fault for fault in MATRIX if fault.name == "a poison picture"]
    like_it = cv2.imencode(".png", np.full((64, 64, 3), (255, 0, 200), np.uint8))[1].tobytes()
    wish = Wish(tmp_path, MODEL, 2, [fault], share=0.2, minutes=0, seed=1, frames=[like_it], poison=poison_picture())
    (row,) = campaign(wish, lambda line: None).rows
    assert (row.broken, row.wrong) == ("", 0)
    assert "quarantine" in row.noticed


def test_what_a_rehearsal_leaves_when_it_is_broken_off_is_cleared_away(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), rehearsal(tmp_path, MODEL, 1) as fleet:
        assert fleet.ready()
        raise ZeroDivisionError
    assert fleet.down() == ()
