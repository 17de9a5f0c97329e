"""Every kind of scenario runs against a service whose capacity a test knows, and its exit code is its verdict."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadtest.__main__ import main
from tests.loadtest.fake_service import RIGHT, FakeService, Scripted, fake_service

FRAMES = 2
SHED = Scripted(status=503, body=b"{}")


@contextmanager
def engine(took_s: float, places: int) -> Iterator[FakeService]:
    """A service that works on one frame at a time, and sheds what finds no place."""
    lock, taken = threading.Lock(), threading.BoundedSemaphore(places)

    def script(number: int) -> Scripted:
        if not taken.acquire(blocking=False):
            return SHED
        try:
            with lock:
                time.sleep(took_s)
        finally:
            taken.release()
        return RIGHT

    with fake_service(script) as service:
        yield service


def scenario(name: str, url: str, video: Path, out: Path, *more: str) -> tuple[int, dict[str, Any]]:
    """Exit code and scenario.json; the SLO is wide, so that a slow machine is still a valid generator."""
    usual = ["--url", url, "--video", str(video), "--out", str(out), "--max-frames", str(FRAMES), "--slo-ms", "250"]
    code = main(["scenario", name, *usual, *more])
    (document,) = out.glob("*/scenario.json")
    return code, msgspec.json.decode(document.read_bytes())


def held(document: dict[str, Any]) -> dict[str, bool]:
    return {check["condition"]: check["held"] for check in document["checks"]}


def test_cameras_pass_and_say_so(sample_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A frame a second, and nothing is late: even a machine that stands still for a moment drops none.
    more = ("--fps", "1", "--seconds", "6", "--slo-ms", "10000")
    with engine(0.001, 99) as service:
        code, found = scenario("cameras", service.url, sample_video, tmp_path, *more)
    out = capsys.readouterr().out
    assert (code == 0) == found["passed"] == (not found["invalid"])
    assert all(held(found).values())
    (load,) = found["steps"]
    assert (found["scenario"], load["counts"]["offered"], load["counts"]["ok"]) == ("cameras", 16, 16)
    assert out.splitlines()[-1].endswith(f"scenario cameras against {service.url}")


def test_cameras_on_a_service_that_is_too_slow_fail(sample_video: Path, tmp_path: Path) -> None:
    with engine(0.4, 99) as service:
        code, found = scenario("cameras", service.url, sample_video, tmp_path, "--seconds", "4")
    assert code == 1
    assert held(found) == {"late_or_never <= 0.01": False, "changed == 0": True, "failed == 0": True}


def test_server_finds_the_rate_that_the_service_holds(sample_video: Path, tmp_path: Path) -> None:
    with engine(0.05, 99) as service:
        more = ("--search-s", "2", "--seconds", "2", "--warmup-s", "0.5", "--runs", "1", "--first-fps", "12")
        code, found = scenario("server", service.url, sample_video, tmp_path, *more, "--quantile", "0.9")
    assert (code == 0) == found["passed"]
    # It works on 20 frames per second at most; waiting grows without bound on the way there.
    assert found["figures"]["fps"] < 22
    # Steps that were the machine's fault, not the service's, may have led the search astray.
    assert found["figures"]["fps"] > 4 or any(step["invalid"] for step in found["steps"])
    verifications = [step for step in found["steps"] if step["name"].startswith("verify")]
    assert verifications


def test_offline_climbs_its_ladder(sample_video: Path, tmp_path: Path) -> None:
    profile = tmp_path / "two.toml"
    text = (
        'kind = "offline"\nabout = "x"\npass = ["fps > 0", "failed == 0"]\n[load]\nseconds = 2\n[plan]\nladder = [1, 2]'
    )
    profile.write_text(text)
    with engine(0.02, 99) as service:
        _, found = scenario(str(profile), service.url, sample_video, tmp_path)
    assert [step["name"] for step in found["steps"]] == ["clients-1", "clients-2"]
    assert all(held(found).values())
    assert 0 < found["figures"]["fps"] <= 51


def test_single_waits_for_each_answer(sample_video: Path, tmp_path: Path) -> None:
    with engine(0.02, 1) as service:
        _, found = scenario("single", service.url, sample_video, tmp_path, "--seconds", "3")
    assert held(found)["shed_share == 0"] and found["figures"]["p50_ms"] >= 20


def test_overload_sees_what_is_still_answered_and_the_recovery(sample_video: Path, tmp_path: Path) -> None:
    with engine(0.04, 4) as service:
        more = ("--capacity-fps", "20", "--seconds", "8")
        _, found = scenario("overload", service.url, sample_video, tmp_path, *more)
    figures = found["figures"]
    assert figures["shed_share"] > 0
    assert 0.7 < figures["throughput_kept"] < 1.3
    assert held(found)["changed == 0"] and held(found)["failed == 0"]
    assert found["steps"][0]["counts"]["offered"] == 30 * 4 + 10 * 4


def test_a_fleet_that_holds_more_than_it_was_told_to_is_still_overloaded(sample_video: Path, tmp_path: Path) -> None:
    with engine(0.04, 4) as service:
        more = ("--capacity-fps", "10", "--seconds", "8")
        _, found = scenario("overload", service.url, sample_video, tmp_path, *more)
    names = [step["name"] for step in found["steps"]]
    assert names[0] == "overload" and len(names) > 1
    assert found["remarks"][0].endswith("were answered")
    assert found["untested"] == [] and found["figures"]["shed_share"] > 0


def test_an_overload_that_is_none_does_not_pass(
    sample_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with engine(0.0001, 99) as service:
        more = ("--capacity-fps", "2", "--seconds", "4", "--slo-ms", "10000")
        code, found = scenario("overload", service.url, sample_video, tmp_path, *more)
    assert code == 1
    assert found["untested"][0].startswith("not overloaded: of ") or found["invalid"]
    assert capsys.readouterr().out.splitlines()[-1].startswith(("NOT TESTED: ", "INVALID: "))


def test_soak_without_metrics_does_not_pass(sample_video: Path, tmp_path: Path) -> None:
    with engine(0.001, 99) as service:
        more = ("--capacity-fps", "20", "--seconds", "2", "--warmup-s", "0", "--slo-ms", "10000")
        code, found = scenario("soak", service.url, sample_video, tmp_path, *more)
    assert code == 1
    assert not held(found)["memory_growth_mib <= 32"] and held(found)["late_or_never <= 0.01"]
    assert found["figures"]["memory_growth_mib"] is None
    too_short, unwatched = found["untested"]
    assert too_short.startswith("2 s are too short") and unwatched.startswith("memory and descriptors of fake0")


@pytest.mark.parametrize(
    ("command", "done", "remarks"),
    [("touch {folder}/restart-{n}", True, []), ("false", False, ["false: ended with code 1: "])],
    ids=["works", "fails"],
)
def test_deploy_runs_its_command_under_load(
    sample_video: Path, tmp_path: Path, command: str, done: bool, remarks: list[str]
) -> None:
    with engine(0.001, 99) as service:
        more = ("--capacity-fps", "20", "--seconds", "3", "--every-s", "0.5")
        disturb = command.replace("{folder}", str(tmp_path))
        code, found = scenario("deploy", service.url, sample_video, tmp_path, *more, "--disturb", disturb)
    # The service says no process ids, so nobody can have seen anything replaced.
    assert code == 1 and found["untested"]
    assert (tmp_path / "restart-1").exists() is done
    assert held(found)["disturbances >= 1"] is held(found)["disturbances_failed == 0"] is done
    assert found["remarks"][:1] == remarks


def test_a_service_that_holds_nothing_cannot_be_soaked(
    sample_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with fake_service(lambda number: RIGHT if number < FRAMES else SHED) as service:
        usual = ["--url", service.url, "--video", str(sample_video), "--max-frames", str(FRAMES)]
        arguments = [*usual, "--out", str(tmp_path), "--search-s", "4", "--first-fps", "0.4", "--warmup-s", "0"]
        assert main(["scenario", "soak", *arguments]) == 1
    assert "holds no rate within 100 ms; raise --slo-ms" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nosuch"], "nosuch: no such profile"),
        (["cameras", "--processes", "0"], "--processes=0: must be above 0"),
        (["cameras", "--url", "fleet"], "--url: fleet is no address"),
        (["deploy", "--url", "http://127.0.0.1:1", "--capacity-fps", "1"], "--disturb: say what to do"),
        (["server", "--runs", "0"], "--runs=0: must be from 1 to 1,000"),
        (["server", "--search-s", "nan"], "--search-s=nan"),
        (["soak", "--share", "1e308"], "--share=1e+308"),
        (["cameras", "--runs", "3"], "--runs: makes no difference to the scenario cameras"),
        (["offline", "--fps", "3"], "--fps: makes no difference"),
    ],
)
def test_senseless_arguments_are_usage_errors(
    tmp_path: Path, arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scenario", *arguments, "--out", str(tmp_path)]) == 2
    assert complaint in capsys.readouterr().err
