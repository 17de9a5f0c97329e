"""The default model on two instances: the path a person takes first."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.fleet import LocalFleet, direct_session

pytestmark = pytest.mark.e2e


def test_up_smoke_and_the_face_of_frame_0(
    new_fleet: Callable[[], LocalFleet], default_model: Path, sample_video: Path, picture: bytes
) -> None:
    fleet = new_fleet().with_model(str(default_model))
    (fleet.var / "video").mkdir()
    (fleet.var / "video" / sample_video.name).symlink_to(sample_video)
    fleet.up()
    smoke = fleet.run("smoke", "--var", str(fleet.var))
    assert smoke.returncode == 0, smoke.stdout + smoke.stderr
    with direct_session() as session:
        answer = session.post(f"{fleet.url}/v1/detect", data=picture, timeout=30).json()
    (face,) = answer["detections"]
    left, top, right, bottom = face["box"]
    assert face["label"] == "face"
    # In pixels of the sent picture, as looked at with the box drawn: forehead to chin, ear to ear.
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((89, 64), abs=3)
    assert (right - left, bottom - top) == pytest.approx((46, 61), abs=3)
