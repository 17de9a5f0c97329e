"""The command line's own manners."""

import csv
import io
from pathlib import Path

import pytest

from loadtest.__main__ import main
from loadtest.report.progress import Progress
from loadtest.target.verdict import Verdict
from tests.loadtest.builders import make_run, sample
from tests.loadtest.fake_service import RIGHT, fake_service


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["replay", "--cameras", "0"], "--cameras=0: must be above 0"),
        (["replay", "--processes", "100000"], "--processes=100000: must be 128 at most"),
        (["replay", "--processes", "0"], "--processes=0: must be above 0"),
        (["replay", "--url", "127.0.0.1:8080"], "--url: 127.0.0.1:8080 is no address; expected http"),
    ],
)
def test_senseless_values_are_usage_errors(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["replay"], ["scenario", "cameras"], ["capacity"], ["ui"]], ids=lambda verb: verb[0])
@pytest.mark.parametrize("host", ["any:SECRET@127.0.0.1:1", "SECRET@127.0.0.1:1", "127.0.0.1:1/?key=SECRET"])
def test_a_key_in_an_address_is_refused_and_kept_nowhere(
    verb: list[str], host: str, tmp_path: Path, sample_video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([*verb, "--url", f"http://{host}", "--video", str(sample_video), "--out", str(out)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("loadtest: --url: ")
    assert "SECRET" not in said.out + said.err
    assert not out.exists()


@pytest.mark.parametrize("arguments", [["replay", "--camera-count", "3"], ["replay", "--fps", "fast"]])
def test_unknown_words_are_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_page_on_a_port_that_is_taken_is_refused(sample_video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fake_service(lambda number: RIGHT) as service:
        arguments = ["ui", "--url", service.url, "--video", str(sample_video), "--page-port", str(service.server_port)]
        assert main(arguments) == 1
    complaint = f"port {service.server_port}, for the page: Address already in use; give another with --page-port"
    assert complaint in capsys.readouterr().err


def test_a_missing_video_is_a_failure_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--video", str(tmp_path / "gone.mp4"), "--out", str(tmp_path)]) == 1
    assert (
        capsys.readouterr().err
        == f"loadtest: {tmp_path}/gone.mp4: no such video; give the path of a file with --video\n"
    )


def test_report_makes_the_page_again_and_judges(
    tmp_path: Path, sample_video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path, sample_video, [sample(n) for n in range(10)])
    assert main(["report", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "PASSED: all 10 answers were the same as without load" in out
    assert f"report: {tmp_path / 'index.html'}" in out
    assert (tmp_path / "index.html").exists()


def test_report_of_a_bad_run_fails(tmp_path: Path, sample_video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [sample(0), sample(1, verdict=Verdict.SHED, status=503), sample(2, lateness_ms=9.0)]
    make_run(tmp_path, sample_video, rows)
    assert main(["report", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "FAILED: shed with 503: 1" in out
    assert "times are not a valid measurement: the generator sent late" in out


def test_report_of_no_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 1
    assert "run.json: No such file or directory; give the folder of a replay" in capsys.readouterr().err


def test_progress_counts_up_in_a_log_file() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    with progress.steps("reference answers", 3, "frame") as step:
        for _ in range(3):
            step()
    with progress.counts("replay", 10, "frame") as show:
        show(4, {"same": 4, "changed": 0})
        show(10, {"same": 9, "changed": 1})
    text = stream.getvalue()
    assert "3/3" in text
    assert "10/10" in text and "same=9, changed=1" in text


def test_samples_are_printed_as_csv(tmp_path: Path, sample_video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path, sample_video, [sample(0), sample(1, verdict=Verdict.SHED, status=503, instance="gpu1")])
    assert main(["samples", str(tmp_path)]) == 0
    header, *rows = csv.reader(capsys.readouterr().out.splitlines())
    found = [dict(zip(header, row, strict=True)) for row in rows]
    assert [(row["verdict"], row["status"], row["instance"]) for row in found] == [
        ("same", "200", "gpu0"),
        ("shed", "503", "gpu1"),
    ]


def test_samples_of_no_run_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["samples", str(tmp_path)]) == 1
    assert "no samples*.bin; give the folder of a replay" in capsys.readouterr().err


def test_without_a_verb_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(f"\n    {verb} " in out for verb in ("replay", "report", "scenario", "capacity", "plan", "simulate"))


@pytest.mark.parametrize("verb", [["replay"], ["replay", "--check"], ["scenario", "cameras"], ["capacity"]])
@pytest.mark.parametrize("kind", ["missing", "empty", "no video"])
def test_a_video_that_will_not_do_is_said_before_anything_else(
    verb: list[str], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "clip.mp4"
    if kind != "missing":
        video.write_text("" if kind == "empty" else "no video")
    out = tmp_path / "out"
    assert main([*verb, "--video", str(video), "--var", str(tmp_path), "--out", str(out)]) == 1
    assert str(video) in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("verb", [["replay"], ["scenario", "cameras"], ["capacity"]])
def test_without_a_fleet_and_an_address_both_are_named(
    verb: list[str], sample_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([*verb, "--video", str(sample_video), "--var", str(tmp_path), "--out", str(out)]) == 2
    assert f"no fleet runs in {tmp_path}; start one with `make up`" in capsys.readouterr().err
    assert not out.exists()


def test_a_check_needs_no_fleet(sample_video: Path, tmp_path: Path) -> None:
    arguments = ["replay", "--check", "--video", str(sample_video), "--var", str(tmp_path)]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out").exists()
