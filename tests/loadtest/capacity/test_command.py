"""`capacity` against a real instance, from the first reference answer to the page."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.__main__ import main
from loadtest.capacity import command, records
from loadtest.capacity.records import Capacity
from loadtest.measure import run_folder
from tests.instance import RunningInstance, running_instance
from tests.loadtest.capacity.builders import capacity, provenance

# So slow an engine that no machine which runs the tests is what limits it.
A_MS, B_MS = 20, 10


@pytest.fixture(scope="module")
def instance(free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningInstance]:
    log = tmp_path_factory.mktemp("instance") / "log"
    with running_instance(free_port(), f"simulated:a_ms={A_MS},b_ms={B_MS}", log, max_batch=4) as running:
        yield running


@pytest.fixture(scope="module")
def folder(instance: RunningInstance, sample_video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("capacity")
    assert main(arguments(instance, sample_video, out)) == 0
    return out


@pytest.fixture(scope="module")
def found(folder: Path) -> Capacity:
    return records.read(folder)


def arguments(instance: RunningInstance, video: Path, out: Path, *more: str) -> list[str]:
    """A sweep of as few and short steps as there can be: one rate, far from the limit, and the SLO is generous."""
    short = ("--seconds", "2", "--overload-s", "1", "--repetitions", "1", "--max-frames", "5", "--slo-ms", "3000")
    rate = ("--start-fps", "20", "--most-fps", "20")
    return ["capacity", "--url", instance.url, "--video", str(video), "--out", str(out), *short, *rate, *more]


def test_a_rate_far_from_the_limit_holds_and_is_only_a_lower_bound(found: Capacity) -> None:
    assert (found.verified_fps, found.bounded) == (20.0, False)
    assert found.slo.estimate == pytest.approx(20.0)
    assert [row.kind for row in found.rows].count("overload") == 1


def test_the_engine_is_recognised_by_its_batches(found: Capacity) -> None:
    assert found.batch is not None
    # A sleep never ends early, and on a busy machine somewhat late.
    assert found.batch.points[0].mean_ms >= A_MS + B_MS
    assert {point.size for point in found.batch.points} <= {1, 2, 3, 4}


def test_the_instance_tells_its_name_stages_and_cpu(found: Capacity) -> None:
    steady = found.rows[0]
    assert [share.name for share in steady.shares] == ["tested"]
    assert set(steady.stages) == {"decode", "queue", "infer", "post"}
    assert found.cpu_ms is not None
    assert found.cpu_ms > 0


def test_where_it_comes_from_is_in_the_file(found: Capacity, instance: RunningInstance) -> None:
    source = found.provenance
    assert (source.url, source.route) == (instance.url, "/v1/detect")
    assert source.frame.startswith("176x144, jpeg")
    assert source.status["engine"]["kind"] == "simulated"
    assert re.fullmatch(r"[0-9a-f]{12}|", source.revision)
    assert source.request_bytes > 1000
    assert source.response_bytes > 100


def test_the_page_and_the_raw_samples_are_in_the_folder(folder: Path, found: Capacity) -> None:
    assert "Framefleet capacity" in (folder / "index.html").read_text()
    assert len(list((folder / "steps").glob("*/samples*.bin"))) == len(found.rows)


def test_a_sweep_that_was_cut_short_goes_on_where_it_was(
    instance: RunningInstance, sample_video: Path, folder: Path, found: Capacity, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = sorted((folder / "steps").glob("*/end.json"))
    stamps = [step.stat().st_mtime_ns for step in steps]
    baseline = folder.parent / "baseline.json"
    baseline.write_bytes((folder / records.FILE).read_bytes())
    more = ("--resume", "--baseline", str(baseline))
    assert main(arguments(instance, sample_video, folder, *more)) == 0
    assert [step.stat().st_mtime_ns for step in steps] == stamps
    assert records.read(folder).rows == found.rows
    assert "baseline    20.0 frames/s" in capsys.readouterr().out


def test_what_cannot_be_compared_is_refused_before_any_load(
    instance: RunningInstance, found: Capacity, sample_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases: list[tuple[str, dict[str, object], str]] = [
        ("--baseline", {"model": {"name": "other"}}, "its model is other, not simulated"),
        ("--baseline", {}, "2 instances, not 1"),
        ("--with", {"engine": {"kind": "trt"}}, "its engine is trt, not simulated"),
    ]
    for option, changes, complaint in cases:
        other = replace(capacity(source=provenance(**found.provenance.status | changes)), slo_ms=found.slo_ms)
        run_folder.write(other, tmp_path / "other.json")
        assert main(arguments(instance, sample_video, tmp_path, option, str(tmp_path / "other.json"))) == 2
        assert complaint in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]


def test_a_run_with_killed_instances_is_shown_too(folder: Path) -> None:
    line = command.timeline(next((folder / "steps").glob("*-verify-*")))
    assert sum(line.offered) == sum(line.in_time) > 0
    assert "failed" in line.text


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (("--url", "127.0.0.1"), "--url: 127.0.0.1 is no address"),
        (("--start-fps", "0"), "--start-fps"),
        (("--seconds", "0.5"), "--seconds"),
        (("--overload-s", "0"), "--overload-s=0"),
        (("--seconds", "nan"), "--seconds=nan: must be from 1 to 86,400"),
        (("--overload-s", "nan"), "--overload-s=nan"),
        (("--most-fps", "1e308"), "--most-fps=1e+308"),
        (("--repetitions", "1000000000000"), "--repetitions=1000000000000"),
        (("--start-fps", "9", "--most-fps", "8"), "--start-fps=9: must not be above --most-fps=8"),
        (("--slo-ms", "-1"), "slo-ms=-1.0: must be above 0"),
    ],
    ids=["url", "rate", "length", "overload", "no length", "no overload", "too fast", "for ever", "order", "slo"],
)
def test_senseless_options_are_usage_errors(
    more: tuple[str, ...], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["capacity", "--out", str(tmp_path), *more]) == 2
    assert complaint in capsys.readouterr().err


def test_nobody_there_is_said_in_one_line(
    sample_video: Path, tmp_path: Path, free_port: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert main(["capacity", "--url", url, "--video", str(sample_video), "--out", str(tmp_path)]) == 1
    assert "no fleet answers" in capsys.readouterr().err
