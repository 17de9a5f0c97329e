"""Profiles are checked before anything is sent."""

import math
from pathlib import Path
from typing import Any

import pytest

from loadtest.errors import OptionError
from loadtest.scenario import profile
from loadtest.scenario.command import demand_judgeable
from loadtest.scenario.kinds import KINDS

GOOD = 'kind = "cameras"\nabout = "text"\npass = ["changed == 0"]\n'


def written(folder: Path, text: str) -> str:
    path = folder / "own.toml"
    path.write_text(text)
    return str(path)


def test_there_is_a_profile_for_every_kind_and_each_can_be_judged() -> None:
    assert set(profile.names()) == set(KINDS)
    for name in profile.names():
        found = profile.read(name)
        demand_judgeable(found)
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
        (GOOD.replace("changed == 0", "changed is 0"), "'changed is 0' is no condition"),
    ],
)
def test_a_bad_profile_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(OptionError, match=complaint):
        profile.read(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GOOD.replace("cameras", "camera"), "own: kind: 'camera' is none of cameras, single"),
        (GOOD.replace("changed ==", "recovery_s =="), "own: pass: 'recovery_s' is none of ok_fps"),
        (GOOD.replace('"changed == 0"', ""), "own: pass: is empty; say what must hold"),
    ],
)
def test_a_profile_that_cannot_be_judged_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(OptionError, match=complaint):
        demand_judgeable(profile.read(written(tmp_path, text)))


@pytest.mark.parametrize("name", ["nosuch", "nosuch.toml"])
def test_a_missing_profile_is_named(name: str) -> None:
    with pytest.raises(OptionError, match=r"no such profile; there are cameras, chaos, .* or give a \.toml file"):
        profile.read(name)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"capacity_fps": -1.0}, "--capacity-fps=-1.0: must be from 0 to 1,000,000"),
        ({"capacity_fps": math.inf}, "--capacity-fps=inf"),
        ({"share": math.nan}, "--share=nan: must be from 0.01 to 1"),
        ({"share": 1.5}, "--share=1.5"),
        ({"quantile": 0.0}, "--quantile=0.0"),
        ({"first_fps": 1e308}, r"--first-fps=1e\+308"),
        ({"search_s": 0.0}, "--search-s=0.0"),
        ({"runs": 0}, "--runs=0"),
        ({"runs": 10**400}, "--runs=1000"),
        ({"every_s": -1.0}, "--every-s=-1.0"),
        ({"ladder": ()}, "plan.ladder: numbers of clients"),
        ({"ladder": (1, 0)}, "plan.ladder: numbers of clients"),
    ],
)
def test_a_plan_out_of_range_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(OptionError, match=complaint):
        profile.changed(profile.read("server"), changes)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x00", b"kind = " + b"[" * 100_000], ids=["utf-16", "zero", "deep"])
def test_a_profile_that_is_no_text_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(OptionError, match=r"mine\.toml"):
        profile.read(str(path))


def test_a_byte_order_mark_in_a_profile_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (profile.FOLDER / "cameras.toml").read_bytes())
    assert profile.read(str(path)).kind == "cameras"
