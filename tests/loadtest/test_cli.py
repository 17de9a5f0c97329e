"""The command line's own manners."""

import csv
import io
from pathlib import Path

import pytest

from loadtest.__main__ import main
from loadtest.progress import Progress
from loadtest.verdict import Verdict
from tests.loadtest.builders import make_run, sample


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["replay", "--cameras", "0"], "--cameras=0: must be above 0"),
        (["replay", "--processes", "0"], "--processes=0: must be above 0"),
        (["replay", "--url", "127.0.0.1:8080"], "--url=127.0.0.1:8080: must begin with http"),
    ],
)
def test_senseless_values_are_usage_errors(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["replay", "--camera-count", "3"], ["replay", "--fps", "fast"]])
def test_unknown_words_are_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


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
