"""Profiles are checked before anything is sent."""

from pathlib import Path

import pytest

from loadtest.errors import OptionError
from loadtest.scenario import profile
from loadtest.scenario.kinds import KINDS
from loadtest.scenario.outcome import check

GOOD = 'kind = "cameras"\nabout = "text"\npass = ["wrong == 0"]\n'


def written(folder: Path, text: str) -> str:
    path = folder / "own.toml"
    path.write_text(text)
    return str(path)


def test_there_is_a_profile_for_every_kind_and_each_can_be_judged() -> None:
    assert set(profile.names()) == set(KINDS)
    for name in profile.names():
        found = profile.read(name)
        check(found)
        assert found.kind == name
        assert found.about and found.conditions


def test_an_own_profile_is_read(tmp_path: Path) -> None:
    text = GOOD + '[load]\ncameras = 9\nslo_ms = 250\nkeep = "newest"\n[plan]\nladder = [1, 3]\nshare = 1\n'
    found = profile.read(written(tmp_path, text))
    assert (found.name, found.load.cameras, found.load.slo_ms, found.load.keep) == ("own", 9, 250.0, "newest")
    assert (found.plan.ladder, found.plan.share) == ((1, 3), 1.0)


def test_options_replace_what_the_profile_says() -> None:
    found = profile.changed(profile.read("soak"), {"seconds": 5.5, "share": 0.5, "verb": print, "slo_ms": 20.0})
    assert (found.load.seconds, found.plan.share, found.load.slo_ms) == (5.5, 0.5, 20.0)
    with pytest.raises(OptionError, match="--cameras=0: must be above 0"):
        profile.changed(found, {"cameras": 0})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("kind = ", "own.toml: "),
        ('kind = "cameras"\n', "missing required field `about`"),
        (GOOD + "extra = 1\n", "unknown field `extra`"),
        (GOOD + "[load]\ncamera = 1\n", r"load\.camera: no such key; there are arrivals, box_px"),
        (GOOD + "[plan]\nrun = 1\n", r"plan\.run: no such key; there are capacity_fps"),
        (GOOD + '[load]\ncameras = "four"\n', "load: Expected `int`, got `str`"),
        (GOOD + '[load]\npayload = "gif"\n', "--payload=gif: must be one of jpeg, png, multipart, base64"),
        (GOOD.replace("wrong == 0", "wrong is 0"), "'wrong is 0' is no condition"),
    ],
)
def test_a_bad_profile_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(OptionError, match=complaint):
        profile.read(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GOOD.replace("cameras", "camera"), "own: kind: 'camera' is none of cameras, single"),
        (GOOD.replace("wrong ==", "recovery_s =="), "own: pass: 'recovery_s' is none of ok_fps"),
        (GOOD.replace('"wrong == 0"', ""), "own: pass: is empty; say what must hold"),
    ],
)
def test_a_profile_that_cannot_be_judged_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(OptionError, match=complaint):
        check(profile.read(written(tmp_path, text)))


@pytest.mark.parametrize("name", ["nosuch", "nosuch.toml"])
def test_a_missing_profile_is_named(name: str) -> None:
    with pytest.raises(OptionError, match=r"no such profile; there are cameras, chaos, .* or give a \.toml file"):
        profile.read(name)
